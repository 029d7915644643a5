//! A core for the server under test, and another one for what loads it: else it is chance, for seconds at a
//! time, whether both share one.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

const SERVER_CORE: usize = 0;
const OUR_CORE: usize = 1;

fn only(core: usize) -> libc::cpu_set_t {
    // SAFETY: a set is plain memory, where zeros are the empty set; the number is below its size.
    unsafe {
        let mut cores: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut cores);
        cores
    }
}

/// Starts the process on the server's core.
pub fn run_on_servers_core(command: &mut Command) {
    let cores = only(SERVER_CORE);
    // SAFETY: between fork and exec, the closure only makes one system call, on a set of its own.
    unsafe {
        command.pre_exec(move || {
            let result = libc::sched_setaffinity(0, size_of_val(&cores), &cores);
            match result {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
}

/// Keeps this thread, and those that it starts from now on, on our core. Whether that is possible.
pub fn stay_on_our_core() -> bool {
    let cores = only(OUR_CORE);
    // SAFETY: the set is valid, and of the size that is said.
    unsafe { libc::sched_setaffinity(0, size_of_val(&cores), &cores) == 0 }
}

/// Keeps all cores awake, with threads that give way to everything else. A virtual machine's core that has
/// nothing to do goes back to its host, and returns when that sees fit, milliseconds later: what is
/// measured then is the host.
pub struct Awake {
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Awake {
    pub fn new() -> Awake {
        let ended = Arc::new(AtomicBool::new(false));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = (0..cores).map(|core| {
            let ended = ended.clone();
            std::thread::spawn(move || {
                if give_way_on(core) {
                    while !ended.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                }
            })
        });
        Awake {
            threads: threads.collect(),
            ended,
        }
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It has nothing to panic with.
            let _ = thread.join();
        }
    }
}

/// Lets this thread run only there from now on, and only while nobody else wants to. Whether that is
/// possible.
fn give_way_on(core: usize) -> bool {
    let cores = only(core);
    // SAFETY: a parameter is plain memory, where zeros are the only valid priority of this policy; the set is
    // valid, and of the size that is said.
    unsafe {
        let parameter: libc::sched_param = std::mem::zeroed();
        libc::sched_setscheduler(0, libc::SCHED_IDLE, &parameter) == 0
            && libc::sched_setaffinity(0, size_of_val(&cores), &cores) == 0
    }
}
