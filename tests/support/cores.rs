//! Cores to measure on. One for the server under test, and another one for what loads it: else it is chance,
//! for seconds at a time, whether both share one. And none of them asleep.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::Command;

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
    move_to_our_core(0)
}

/// Keeps another thread, given by its number, and those that it starts from now on, on our core. Returns false if that
/// is not possible.
pub fn move_to_our_core(thread: u32) -> bool {
    let cores = only(OUR_CORE);
    // SAFETY: the set is valid, and of the size that is said.
    unsafe { libc::sched_setaffinity(thread as libc::pid_t, size_of_val(&cores), &cores) == 0 }
}

/// Keeps idle cores awake for as long as it lives, where we may ask the kernel for that (see "CPU latency
/// limit" in its documentation of PM QoS). A virtual machine's core that halts goes back to its host, and
/// returns when that sees fit, milliseconds later: what is measured then is the host.
pub struct Awake {
    _request: Option<File>,
}

impl Awake {
    pub fn new() -> Awake {
        let request = Awake::request();
        if let Err(error) = &request {
            eprintln!("idle cores may sleep: {error}");
        }
        Awake {
            _request: request.ok(),
        }
    }

    fn request() -> io::Result<File> {
        let mut request = File::options().write(true).open("/dev/cpu_dma_latency")?;
        // In microseconds: a core that is to be there at once polls.
        request.write_all(&0_i32.to_ne_bytes())?;
        Ok(request)
    }
}
