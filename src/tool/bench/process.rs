//! Processor time and memory of the server's process, read from /proc.

use rustix::net::sockopt::socket_peercred;
use socket2::SockRef;
use std::fs;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;

/// A process whose processor time can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    pid: u32,
}

impl Process {
    /// The process with that id; `None` if its processor time can't be read.
    pub fn new(pid: u32) -> Option<Process> {
        let process = Process { pid };
        process.cpu_ns().is_some().then_some(process)
    }

    pub fn id(&self) -> u32 {
        self.pid
    }

    /// The process at the other end of a connection, if it can be found on this machine.
    pub fn behind(connection: impl AsFd) -> Option<Process> {
        let socket = SockRef::from(&connection);
        let (ours, theirs) = (socket.local_addr().ok()?, socket.peer_addr().ok()?);
        match (ours.as_socket(), theirs.as_socket()) {
            (Some(ours), Some(theirs)) => Process::behind_tcp(ours, theirs),
            _ => Process::behind_unix(&connection),
        }
    }

    /// The process that listens at a Unix socket. If a service manager opened the socket, the kernel names the service
    /// manager (process 1), which is of no use.
    fn behind_unix(connection: impl AsFd) -> Option<Process> {
        let pid = socket_peercred(connection).ok()?.pid.as_raw_nonzero().get();
        u32::try_from(pid)
            .ok()
            .filter(|pid| *pid != 1)
            .and_then(Process::new)
    }

    /// The process on this machine that has the other end of a TCP connection open.
    fn behind_tcp(ours: SocketAddr, theirs: SocketAddr) -> Option<Process> {
        let table = match ours {
            SocketAddr::V4(_) => "/proc/net/tcp",
            SocketAddr::V6(_) => "/proc/net/tcp6",
        };
        let table = fs::read_to_string(table).ok()?;
        let inode = table.lines().find_map(|line| inode(line, theirs, ours))?;
        let held = format!("socket:[{inode}]");
        let processes = fs::read_dir("/proc").ok()?.flatten();
        let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.find(|pid| holds(*pid, &held)).and_then(Process::new)
    }

    /// Processor time used so far by all threads of the process, in nanoseconds.
    pub fn cpu_ns(&self) -> Option<u64> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid)).ok()?;
        let times = threads.flatten().map(|thread| {
            let times = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            times.split_whitespace().next()?.parse::<u64>().ok()
        });
        times.sum::<Option<u64>>().or_else(|| self.ticks_ns())
    }

    /// Processor time in nanoseconds, with a resolution of 10 milliseconds, for kernels without schedstat.
    fn ticks_ns(&self) -> Option<u64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        // The name of the program stands in parentheses and may contain blanks; the times are fields 14 and 15.
        let (_, fields) = stat.rsplit_once(')')?;
        let times = fields.split_whitespace().skip(11).take(2);
        let ticks: Option<u64> = times.map(|field| field.parse::<u64>().ok()).sum();
        Some(ticks? * 10_000_000)
    }

    /// Resident memory, in bytes.
    pub fn memory(&self) -> Option<u64> {
        // The figure in `status` may be off by some pages per processor.
        let exact = self.figure("smaps_rollup", "Rss:");
        Some(exact.or_else(|| self.figure("status", "VmRSS:"))? * 1024)
    }

    /// The number after `name` in a file of /proc.
    fn figure(&self, file: &str, name: &str) -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{}/{file}", self.pid)).ok()?;
        let value = text.lines().find_map(|line| line.strip_prefix(name))?;
        value.split_whitespace().next()?.parse().ok()
    }
}

/// The inode in a line of `/proc/net/tcp`, if the line is about the connection between these addresses.
fn inode(line: &str, local: SocketAddr, remote: SocketAddr) -> Option<&str> {
    let mut fields = line.split_whitespace().skip(1);
    let is_it = fields.next()? == written(local) && fields.next()? == written(remote);
    fields.nth(6).filter(|inode| is_it && *inode != "0")
}

/// An address as `/proc/net/tcp` writes it: 32 bits at a time, in the machine's own order of bytes.
fn written(address: SocketAddr) -> String {
    let bytes = match address {
        SocketAddr::V4(address) => address.ip().octets().to_vec(),
        SocketAddr::V6(address) => address.ip().octets().to_vec(),
    };
    let words = bytes.chunks_exact(4).map(|word| {
        let word = u32::from_ne_bytes(word.try_into().expect("four bytes"));
        format!("{word:08X}")
    });
    format!("{}:{:04X}", words.collect::<String>(), address.port())
}

/// Returns true if the process has a descriptor that links to `held`.
fn holds(pid: u32, held: &str) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"));
    descriptors.is_ok_and(|descriptors| {
        descriptors
            .flatten()
            .any(|one| fs::read_link(one.path()).is_ok_and(|target| target == Path::new(held)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    #[test]
    fn the_process_at_the_other_end_is_found() {
        let ours = Process::new(std::process::id());
        assert!(ours.is_some());
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                continue;
            };
            let address = listener.local_addr().expect("a listener");
            let stream = TcpStream::connect(address).expect("it listens");
            let _accepted = listener.accept().expect("it came");
            assert_eq!(Process::behind(&stream), ours, "{address}");
        }
        let (one, _other) = UnixStream::pair().expect("two sockets");
        assert_eq!(Process::behind(&one), ours);
    }

    #[test]
    fn time_and_memory_are_more_than_nothing() {
        let ours = Process::new(std::process::id()).expect("we run");
        assert!(ours.cpu_ns() > Some(0) && ours.ticks_ns().is_some());
        assert!(ours.memory() > Some(100_000));
        assert_eq!(Process::new(u32::MAX), None);
    }
}
