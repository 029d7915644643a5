//! One broker, and a world around it that does whatever the bytes say: clients of every language and kind of user,
//! slaves and a master in both languages, clocks that jump, peers that stop reading or vanish, a disk that is late
//! or fails, a cache that is too small. Again and again it is looked at whether all is as it has to be.
//!
//! The first bytes are the settings, and then come steps: a byte that says what happens, and some for how.
//! `lines` makes whole lines of a few bytes, so that a fuzzer gets far; there are steps for raw bytes, too.
//! Where the bytes end the world does: everybody takes what there is, and nobody may be left waiting; then
//! everybody goes, and nothing may be left of them.

pub mod lines;
mod log;
mod oracle;
mod others;
pub mod steps;
mod wires;
pub mod world;

use steps::Steps;
use world::World;

/// More steps than that show nothing new, and take long.
const MAX_STEPS: usize = 400;
/// Everything is looked at once in `check_every` steps, and at the end.
pub fn run(data: &[u8], check_every: usize) {
    let mut steps = Steps::new(data);
    let mut world = World::new(&mut steps, data);
    for step in 0..MAX_STEPS {
        if steps.is_over() {
            break;
        }
        world.step(&mut steps);
        if step % check_every == 0 {
            world.check();
        }
    }
    world.end();
    log::watch(false);
}
