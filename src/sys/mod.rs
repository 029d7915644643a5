//! System calls that the standard library lacks, as small safe functions. All unsafe code of the project is here.
//!
//! rustix makes most of the calls. libc makes those that rustix doesn't offer, or offers as unsafe functions only.

#![allow(unsafe_code)]

#[cfg(feature = "server")]
pub mod memory;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, Gid, Mode, Uid, chownat};
use rustix::process::umask as replace_umask;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

/// Resets the signal settings that the process has inherited: unblocks all signals, and restores the default action of
/// SIGCHLD, so that ended children can be waited for. The process must have one thread.
///
/// # Errors
/// The system refuses it.
pub fn reset_signals() -> io::Result<()> {
    // SAFETY: `none` is a place for a set of signals, which the first call fills and the second one reads. The default
    // action for SIGCHLD runs no code of the process.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        check(libc::sigemptyset(&mut none))?;
        check(libc::sigprocmask(
            libc::SIG_SETMASK,
            &none,
            std::ptr::null_mut(),
        ))?;
        if libc::signal(libc::SIGCHLD, libc::SIG_DFL) == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Tunes the allocator of the GNU C library: blocks of at least `mapped_from` bytes are mapped one by one, and small
/// blocks are merged when they are freed. By default all free small blocks are merged at once at some later time, which
/// takes 50 milliseconds after a million of them. Free memory at the end of the heap goes back to the system only from
/// `2 * mapped_from` bytes on, as by default: else each buffer that is freed there costs page faults when it is needed
/// again. With other C libraries this does nothing.
pub fn tune_allocator(mapped_from: usize) {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if let Ok(mapped_from) = libc::c_int::try_from(mapped_from) {
        // SAFETY: the arguments are numbers; the calls change only how later blocks are handled.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, mapped_from);
            libc::mallopt(libc::M_TRIM_THRESHOLD, mapped_from.saturating_mul(2));
            libc::mallopt(libc::M_MXFAST, 0);
        }
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    let _ = mapped_from;
}

/// Tells the processor to fetch the first 64 bytes of a value into its cache, and does not wait for them. A hint for
/// x86-64; on other processors this does nothing.
pub fn prefetch<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint to the processor; it has no effect on memory and can't fault.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(place).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// Lowers the priority of the calling thread to this nice value (see nice(1)). Only on Linux threads have priorities of
/// their own; elsewhere this does nothing.
///
/// # Errors
/// A system call filter may forbid the call.
pub fn lower_priority(niceness: i32) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::setpriority_process(None, niceness)?;
    #[cfg(not(target_os = "linux"))]
    let _ = niceness;
    Ok(())
}

/// Sets the scheduling policy of the calling thread, and of the threads that it starts later, to `SCHED_BATCH`: a process
/// that wakes this one goes on running instead of being preempted by it. Elsewhere than on Linux this does nothing.
///
/// # Errors
/// A system call filter may forbid the call.
pub fn set_batch_scheduling() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let parameters = libc::sched_param { sched_priority: 0 };
        // SAFETY: the call reads one sched_param, which outlives it; 0 is the calling thread.
        check(unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &parameters) })?;
    }
    Ok(())
}

/// Returns true if a write of up to `PIPE_BUF` bytes to the descriptor would not block.
pub fn is_writable(descriptor: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::from_borrowed_fd(descriptor, PollFlags::OUT)];
    let ready = poll(&mut polled, Some(&Timespec::default()));
    ready == Ok(1) && polled[0].revents().contains(PollFlags::OUT)
}

/// Takes ownership of a descriptor that the process has inherited. The caller calls this once per number, and before the
/// process opens any descriptor itself.
///
/// # Errors
/// There is no such descriptor.
pub fn take_descriptor(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the arguments are numbers; the call fails if there is no such descriptor.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, as was just checked, and nothing in this process owns it yet, as the
    // function's caller promises.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The time of the monotonic clock in microseconds, comparable between processes; `Instant` hides that number.
pub fn machine_time_us() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}

/// A user and its primary group.
#[derive(Debug, Clone, Copy)]
pub struct Account {
    pub user: u32,
    pub group: u32,
}

/// The processor time that this process has used so far, in microseconds: its own, and the system's for it.
pub fn processor_time_us() -> (u64, u64) {
    // SAFETY: rusage holds plain numbers, for which zeros are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the call writes one rusage, which outlives it.
    if unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) } != 0 {
        return (0, 0);
    }
    let us = |time: libc::timeval| {
        let (seconds, rest) = (time.tv_sec as u64, time.tv_usec as u64);
        seconds * 1_000_000 + rest
    };
    (us(usage.ru_utime), us(usage.ru_stime))
}

/// The memory of the machine that the process takes, in bytes; 0 if the system does not say. Read from the proc file system,
/// which never waits for a disk.
pub fn resident_memory() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0_usize) * rustix::param::page_size()
}

/// The memory of the machine in bytes; 0 if the system does not say.
pub fn machine_memory() -> usize {
    // SAFETY: the arguments are numbers.
    let (pages, size) = unsafe {
        (
            libc::sysconf(libc::_SC_PHYS_PAGES),
            libc::sysconf(libc::_SC_PAGESIZE),
        )
    };
    let (pages, size) = (usize::try_from(pages), usize::try_from(size));
    pages.unwrap_or(0).saturating_mul(size.unwrap_or(0))
}

/// Looks an account up by its name; `None` if there is none.
pub fn find_user(name: &str) -> Option<Account> {
    let name = CString::new(name).ok()?;
    // SAFETY: `name` is a NUL-terminated string; the result points to static memory, which is read before any other
    // call could change it, since the process has one thread at that time.
    let entry = unsafe { libc::getpwnam(name.as_ptr()).as_ref() }?;
    Some(Account {
        user: entry.pw_uid,
        group: entry.pw_gid,
    })
}

/// Looks the number of a group up by its name; `None` if there is none.
pub fn find_group(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: as in `find_user`.
    let entry = unsafe { libc::getgrnam(name.as_ptr()).as_ref() }?;
    Some(entry.gr_gid)
}

/// Changes the user and the group of the process for good, and leaves all supplementary groups.
///
/// # Errors
/// The process is not allowed to.
pub fn become_account(account: Account) -> io::Result<()> {
    // SAFETY: the list of one group is valid for the call.
    check(unsafe { libc::setgroups(1, &account.group) })?;
    // SAFETY: the argument is a number. The group comes before the user, who would have no right to change it.
    check(unsafe { libc::setgid(account.group) })?;
    // SAFETY: the argument is a number.
    check(unsafe { libc::setuid(account.user) })
}

/// Returns true if the other side has not taken all bytes that were written to a socket: of a Unix socket, if the peer's
/// program has not read them; of a TCP socket, if the peer's machine has not acknowledged them.
pub fn has_untaken(socket: BorrowedFd<'_>) -> bool {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the call writes one int, which outlives it. TIOCOUTQ has the number of SIOCOUTQ.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &mut bytes) };
    done == 0 && bytes > 0
}

/// The user and the process at the other end of a Unix socket, at the time when that end was connected.
#[derive(Debug, Clone, Copy)]
pub struct Credentials {
    pub uid: u32,
    /// The process id; 0 if the system does not tell it.
    pub pid: u32,
}

/// Asks the kernel for the user and the process at the other end of a connected Unix socket.
///
/// # Errors
/// The socket is not a connected Unix socket.
pub fn credentials_of_peer(socket: BorrowedFd<'_>) -> io::Result<Credentials> {
    #[cfg(target_os = "linux")]
    {
        let mut found = libc::ucred {
            pid: 0,
            uid: 0,
            gid: 0,
        };
        let mut length = size_of::<libc::ucred>() as libc::socklen_t;
        // SAFETY: the call writes one ucred of `length` bytes, which outlives it, and `length`.
        check(unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERCRED,
                std::ptr::from_mut(&mut found).cast(),
                &mut length,
            )
        })?;
        Ok(Credentials {
            uid: found.uid,
            // 0 for a process in a PID namespace that this process can't see. rustix's type for process ids has no 0,
            // so libc makes this call.
            pid: u32::try_from(found.pid).unwrap_or(0),
        })
    }
    #[cfg(not(target_os = "linux"))]
    {
        let (mut uid, mut gid) = (0, 0);
        // SAFETY: the call writes two numbers, which outlive it.
        check(unsafe { libc::getpeereid(socket.as_raw_fd(), &mut uid, &mut gid) })?;
        Ok(Credentials { uid, pid: 0 })
    }
}

/// Changes the user and the group that own a file. The file may be open as a mere place (`O_PATH`). `None` leaves the
/// owner as it is.
///
/// # Errors
/// The process is not allowed to.
pub fn change_owner(file: &File, user: Option<u32>, group: Option<u32>) -> io::Result<()> {
    let (user, group) = (user.map(Uid::from_raw), group.map(Gid::from_raw));
    Ok(chownat(file, c"", user, group, AtFlags::EMPTY_PATH)?)
}

/// Calls `make` with an empty mask of file modes, so that a file made there gets exactly the mode that it is made with.
/// The process must have one thread, because all threads share the mask.
pub fn without_umask<T>(make: impl FnOnce() -> T) -> T {
    let mask = set_umask(0);
    let made = make();
    set_umask(mask);
    made
}

/// Reserves disk space for `length` bytes of a file from offset `from` on, also beyond its end. The file's length stays.
///
/// # Errors
/// There is no such space, or the file system can't reserve any.
pub fn reserve(file: &File, from: u64, length: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{FallocateFlags, fallocate};
        Ok(fallocate(file, FallocateFlags::KEEP_SIZE, from, length)?)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (file, from, length);
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Returns true if something is mounted at exactly this path. A final symbolic link is not followed. False if the system
/// can't tell.
pub fn is_mount_point(path: &Path) -> bool {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, StatxAttributes, StatxFlags, statx};
        let found = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty());
        found.is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = path;
        false
    }
}

/// Sets the mask of file modes for all threads. Returns the previous mask.
pub fn set_umask(mask: u32) -> u32 {
    replace_umask(Mode::from_raw_mode(mask)).as_raw_mode()
}

/// Returns the mask of file modes. The process must have one thread, because the call sets another mask for a moment.
pub fn umask() -> u32 {
    let mask = set_umask(0o077);
    set_umask(mask);
    mask
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::UnixStream;

    #[test]
    fn the_kernel_names_the_process_at_the_other_end() {
        let (ours, _theirs) = UnixStream::pair().expect("two sockets");
        let found = credentials_of_peer(ours.as_fd()).expect("it is connected");
        if cfg!(target_os = "linux") {
            assert_eq!(found.pid, std::process::id());
        }
        let own_file = std::fs::metadata("/proc/self").or_else(|_| std::fs::metadata("."));
        assert_eq!(found.uid, own_file.expect("a file of this user").uid());
    }

    #[test]
    fn what_a_peer_has_not_read_is_not_taken() {
        let (mut ours, mut theirs) = UnixStream::pair().expect("two sockets");
        assert!(!has_untaken(ours.as_fd()));
        ours.write_all(b"NOP\r\n").expect("room for it");
        assert!(has_untaken(ours.as_fd()));
        theirs.read_exact(&mut [0; 5]).expect("it is there");
        assert!(!has_untaken(ours.as_fd()));
    }
}
