//! What the standard library doesn't offer: small safe functions around libc. All of the project's
//! unsafe code is here.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Undoes what the process has inherited of signals from whoever started it: none is blocked any more, and children that
/// end can be waited for again. To be called by a daemon, at its start.
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

/// Raises the soft limit on descriptors to the hard one and returns it.
pub fn raise_descriptor_limit() -> io::Result<usize> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid rlimit that the call fills.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is a valid rlimit that the call reads.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) })?;
    Ok(usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX))
}

/// Has the allocator take blocks of at least `mapped_from` bytes from the system each by itself, and
/// join small blocks when they are freed. By default it joins all of them at once some time later,
/// which takes 50 milliseconds after a million. Only the GNU C library is like that; elsewhere this does
/// nothing.
pub fn tame_allocator(mapped_from: usize) {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if let Ok(mapped_from) = libc::c_int::try_from(mapped_from) {
        // SAFETY: plain numbers; the calls change nothing but how later blocks are handled.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, mapped_from);
            libc::mallopt(libc::M_MXFAST, 0);
        }
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    let _ = mapped_from;
}

/// Has the processor fetch the memory of something (its first 64 bytes), and goes on meanwhile. A hint, for
/// x86-64; elsewhere this does nothing.
pub fn prefetch<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint to the processor, which changes nothing.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(place).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// Lets the calling thread run after others of the process by so much (see nice(1)). On Linux threads have
/// priorities of their own; elsewhere this does nothing.
///
/// # Errors
/// A system call filter may forbid it.
pub fn lower_priority(niceness: i32) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    // SAFETY: plain numbers; 0 is the calling thread.
    check(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, niceness) })?;
    #[cfg(not(target_os = "linux"))]
    let _ = niceness;
    Ok(())
}

/// Has the kernel let a process that wakes this one go on running, instead of running this one in its place
/// (`SCHED_BATCH`). Threads made afterwards are scheduled in this way as well. Elsewhere than on Linux this does nothing.
///
/// # Errors
/// A system call filter may forbid it.
pub fn be_scheduled_as_batch() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let parameters = libc::sched_param { sched_priority: 0 };
        // SAFETY: the call reads one sched_param, which outlives it; 0 is the calling thread.
        check(unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &parameters) })?;
    }
    Ok(())
}

/// Whether a write of up to `PIPE_BUF` bytes to the descriptor would not block.
pub fn is_writable(descriptor: BorrowedFd<'_>) -> bool {
    let mut poll = libc::pollfd {
        fd: descriptor.as_raw_fd(),
        events: libc::POLLOUT,
        revents: 0,
    };
    // SAFETY: `poll` is one valid pollfd, and the timeout of 0 makes the call return at once.
    let ready = unsafe { libc::poll(&mut poll, 1, 0) };
    ready == 1 && poll.revents & libc::POLLOUT != 0
}

/// Takes over a descriptor that whoever started the process has left open in it. To be called before
/// the process opens anything itself, and once per number.
pub fn take_descriptor(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: plain numbers; it fails if there is no such descriptor.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, as was just seen, and nothing in this process owns it yet, as the
    // function's caller promises.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The time of the monotonic clock as all processes of the machine see it; `Instant` doesn't tell it.
pub fn machine_time_us() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid timespec that the call fills; this clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}

/// A user and its primary group.
#[derive(Debug, Clone, Copy)]
pub struct Account {
    pub user: u32,
    pub group: u32,
}

/// The account of that name, or `None`.
pub fn find_user(name: &str) -> Option<Account> {
    let name = CString::new(name).ok()?;
    // SAFETY: `name` is a NUL-terminated string; the result points to static memory that is read
    // before any other call could change it, in a process that has one thread at that time.
    let entry = unsafe { libc::getpwnam(name.as_ptr()).as_ref() }?;
    Some(Account {
        user: entry.pw_uid,
        group: entry.pw_gid,
    })
}

/// The number of the group of that name, or `None`.
pub fn find_group(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: as in `find_user`.
    let entry = unsafe { libc::getgrnam(name.as_ptr()).as_ref() }?;
    Some(entry.gr_gid)
}

/// Becomes that account for good, with no other groups than its own.
pub fn become_account(account: Account) -> io::Result<()> {
    // SAFETY: the list of one group is valid for the call.
    check(unsafe { libc::setgroups(1, &account.group) })?;
    // SAFETY: plain numbers; the group goes first, for afterwards there is no right to change it.
    check(unsafe { libc::setgid(account.group) })?;
    // SAFETY: plain numbers.
    check(unsafe { libc::setuid(account.user) })
}

/// Whether something that was written to a socket is not taken yet: by the peer's program, of a Unix socket; by the
/// peer's machine, of a TCP socket.
pub fn has_untaken(socket: BorrowedFd<'_>) -> bool {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the call writes one int, which outlives it. (SIOCOUTQ is another name of it.)
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &mut bytes) };
    done == 0 && bytes > 0
}

/// The process at the other end of a Unix socket, as it was when that end was connected.
#[derive(Debug, Clone, Copy)]
pub struct Credentials {
    pub uid: u32,
    /// 0 where the system does not say.
    pub pid: u32,
}

/// Asks the kernel who is at the other end of a connected Unix socket.
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
            // It has no number here if it is in a PID namespace that this process cannot see.
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

/// Changes the user and the group that own a file, of which no more than its place may be opened (`O_PATH`); `None`
/// leaves them as they are.
pub fn change_owner(file: &File, user: Option<u32>, group: Option<u32>) -> io::Result<()> {
    const AS_IT_IS: u32 = u32::MAX;
    // SAFETY: the descriptor is open, the path is a NUL-terminated string; the rest are plain numbers.
    check(unsafe {
        libc::fchownat(
            file.as_raw_fd(),
            c"".as_ptr(),
            user.unwrap_or(AS_IT_IS),
            group.unwrap_or(AS_IT_IS),
            libc::AT_EMPTY_PATH,
        )
    })
}

/// What `make` makes gets the mode that it asks for, all of it. To be called while the process has one thread: the
/// mask is all threads'.
pub fn without_umask<T>(make: impl FnOnce() -> T) -> T {
    let mask = set_umask(0);
    let made = make();
    set_umask(mask);
    made
}

/// Has the file system keep room for so many bytes of a file from a place on, beyond its end as well; its length stays.
///
/// # Errors
/// There is no such room, or the file system can't do that.
pub fn reserve(file: &File, from: u64, length: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let beyond = |_| io::Error::from(io::ErrorKind::FileTooLarge);
        let from = libc::off_t::try_from(from).map_err(beyond)?;
        let length = libc::off_t::try_from(length).map_err(beyond)?;
        let mode = libc::FALLOC_FL_KEEP_SIZE;
        // SAFETY: the descriptor is open; the rest are plain numbers.
        check(unsafe { libc::fallocate(file.as_raw_fd(), mode, from, length) })
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (file, from, length);
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Reports whether something is mounted at this very path, of which a final symbolic link is not followed. `false` where
/// the system can't tell.
pub fn is_mount_point(path: &Path) -> bool {
    #[cfg(target_os = "linux")]
    if let Ok(path) = CString::new(path.as_os_str().as_bytes()) {
        const MOUNT_ROOT: u64 = libc::STATX_ATTR_MOUNT_ROOT as u64;
        // SAFETY: all zeros are a valid statx: it is made of numbers.
        let mut found: libc::statx = unsafe { std::mem::zeroed() };
        // SAFETY: the path is a NUL-terminated string, and `found` a valid statx that the call fills.
        let result = unsafe {
            libc::statx(
                libc::AT_FDCWD,
                path.as_ptr(),
                libc::AT_SYMLINK_NOFOLLOW,
                0,
                &mut found,
            )
        };
        return result == 0 && found.stx_attributes & MOUNT_ROOT != 0;
    }
    false
}

/// Sets which rights new files don't get, in all threads, and returns the mask that there was.
pub fn set_umask(mask: u32) -> u32 {
    // SAFETY: a plain number; the call can't fail.
    unsafe { libc::umask(mask) }
}

/// Returns which rights new files don't get. To be called while the process has one thread: the mask is another one
/// for a moment.
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
