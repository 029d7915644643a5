//! Stands between a server and who dials it, and does what bad networks do.

use super::Random;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Where a proxy leads.
#[derive(Clone)]
pub enum Way {
    Unix(PathBuf),
    /// A port on loopback.
    Tcp(u16),
}

impl Way {
    fn connect(&self) -> io::Result<Socket> {
        let (domain, address) = match self {
            Way::Unix(path) => (Domain::UNIX, SockAddr::unix(path)?),
            Way::Tcp(port) => {
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
                (Domain::IPV4, address.into())
            }
        };
        let socket = Socket::new(domain, Type::STREAM, None)?;
        socket.connect(&address)?;
        Ok(socket)
    }
}

/// The treatment of a connection; by default, its bytes pass in pieces, so that a cut falls anywhere.
#[derive(Clone, Copy, Default)]
pub struct Trouble {
    /// Each piece waits so long at most.
    pub delay: Duration,
    /// The connection ends when so many bytes have gone to the server, or come from it.
    pub cut_after_sent: Option<usize>,
    pub cut_after_answered: Option<usize>,
    /// Where it would be cut, only that direction ends.
    pub is_half: bool,
    /// Another connection to the server says the same, just before; nobody hears its answers.
    pub is_double: bool,
}

/// Largest piece that passes at once.
const PIECE: usize = 777;

/// Bytes of one connection that have passed, to the server and from it.
#[derive(Default)]
struct Passed {
    sent: AtomicUsize,
    answered: AtomicUsize,
}

struct Shared {
    trouble: Mutex<Trouble>,
    open: Mutex<Vec<Socket>>,
    newest: Mutex<Arc<Passed>>,
    dialled: AtomicU64,
    is_over: AtomicBool,
}

pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic while it is held")
}

impl Proxy {
    pub fn to(way: Way) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::new(Shared {
            trouble: Mutex::default(),
            open: Mutex::default(),
            newest: Mutex::default(),
            dialled: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        });
        let of_thread = shared.clone();
        std::thread::spawn(move || {
            for dialler in listener.incoming().map_while(Result::ok) {
                if of_thread.is_over.load(Ordering::Relaxed) {
                    return;
                }
                // Without a server the dialler's connection just ends.
                let _ = of_thread.carry(dialler.into(), &way);
            }
        });
        Proxy { port, shared }
    }

    pub fn address(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }

    /// Sets the treatment of all connections that are dialled from now on.
    pub fn set(&self, trouble: Trouble) {
        *held(&self.shared.trouble) = trouble;
    }

    /// How many have dialled.
    pub fn dialled(&self) -> u64 {
        self.shared.dialled.load(Ordering::Relaxed)
    }

    /// How many bytes of the newest connection have gone to the server, and come from it.
    pub fn passed(&self) -> [usize; 2] {
        let passed = held(&self.shared.newest);
        [&passed.sent, &passed.answered].map(|count| count.load(Ordering::Relaxed))
    }

    /// Ends the connections, in the middle of whatever they carry.
    pub fn cut(&self) {
        self.end(Shutdown::Both);
    }

    /// Ends what goes to either side; they may still say something, which nobody hears.
    pub fn half_close(&self) {
        self.end(Shutdown::Write);
    }

    fn end(&self, how: Shutdown) {
        for socket in held(&self.shared.open).drain(..) {
            let _ = socket.shutdown(how);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.cut();
        // Wakes the thread, which then sees that it is over.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn carry(&self, dialler: Socket, way: &Way) -> io::Result<()> {
        let number = self.dialled.fetch_add(1, Ordering::Relaxed);
        // Held until the connection is among them: so a cut finds all that are in the trouble set before it.
        let mut open = held(&self.open);
        let trouble = *held(&self.trouble);
        let server = way.connect()?;
        let mut servers = Vec::new();
        if trouble.is_double {
            let second = way.connect()?;
            let mut unheard = second.try_clone()?;
            std::thread::spawn(move || io::copy(&mut unheard, &mut io::sink()));
            servers.push(second);
        }
        servers.push(server.try_clone()?);
        // Those that are gone would be kept open here.
        open.retain(|socket| socket.peer_addr().is_ok());
        open.push(dialler.try_clone()?);
        for server in &servers {
            open.push(server.try_clone()?);
        }
        drop(open);
        let passed = Arc::new(Passed::default());
        *held(&self.newest) = passed.clone();
        let answers = Direction {
            from: server,
            to: vec![dialler.try_clone()?],
            cut_after: trouble.cut_after_answered,
            count: |passed| &passed.answered,
            passed: passed.clone(),
            trouble,
            random: Random::new(2 * number),
        };
        let words = Direction {
            from: dialler,
            to: servers,
            cut_after: trouble.cut_after_sent,
            count: |passed| &passed.sent,
            passed,
            trouble,
            random: Random::new(2 * number + 1),
        };
        for direction in [answers, words] {
            std::thread::spawn(move || direction.pass());
        }
        Ok(())
    }
}

/// One direction of a connection.
struct Direction {
    from: Socket,
    /// The one that counts is the last.
    to: Vec<Socket>,
    cut_after: Option<usize>,
    passed: Arc<Passed>,
    /// Which of the counts is its own.
    count: fn(&Passed) -> &AtomicUsize,
    trouble: Trouble,
    random: Random,
}

impl Direction {
    /// Copies until either side ends, or is to be ended.
    fn pass(mut self) {
        let mut left = self.cut_after.unwrap_or(usize::MAX);
        let mut piece = [0; PIECE];
        while left > 0 {
            let size = PIECE.min(left);
            let count = match self.from.read(&mut piece[..size]) {
                Ok(0) => break,
                Ok(count) => count,
                Err(_) => return self.end(Shutdown::Both),
            };
            if !self.trouble.delay.is_zero() {
                let most = self.trouble.delay.as_micros() as usize;
                std::thread::sleep(Duration::from_micros(self.random.below(most) as u64));
            }
            if !self.write(&piece[..count]) {
                return self.end(Shutdown::Both);
            }
            left -= count;
            (self.count)(&self.passed).fetch_add(count, Ordering::Relaxed);
        }
        let is_cut = left == 0 && !self.trouble.is_half;
        self.end(if is_cut {
            Shutdown::Both
        } else {
            Shutdown::Write
        });
    }

    /// Writes to all. One beside the last that the server has closed is given up. Returns false if the last one has ended.
    fn write(&mut self, piece: &[u8]) -> bool {
        let mut last = self.to.pop().expect("there is one");
        self.to.retain_mut(|other| other.write_all(piece).is_ok());
        let is_there = last.write_all(piece).is_ok();
        self.to.push(last);
        is_there
    }

    fn end(&self, how: Shutdown) {
        if how == Shutdown::Both {
            let _ = self.from.shutdown(how);
        }
        for to in &self.to {
            let _ = to.shutdown(how);
        }
    }
}
