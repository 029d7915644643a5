//! Requests of a load and the answers expected to them, byte by byte. The tests implement [`BenchProtocol`] for other
//! servers, so that the same code drives all of them.

/// Requests, and the answers to all of them. Any other answer is an error.
#[derive(Debug, Clone, Default)]
pub struct Exchange {
    pub request: Vec<u8>,
    pub answer: Vec<u8>,
}

impl Exchange {
    pub fn clear(&mut self) {
        self.request.clear();
        self.answer.clear();
    }

    /// Appends to the requests.
    pub fn ask(&mut self, parts: &[&[u8]]) {
        append(&mut self.request, parts);
    }

    /// Appends to the expected answers.
    pub fn expect(&mut self, parts: &[&[u8]]) {
        append(&mut self.answer, parts);
    }
}

pub fn append(to: &mut Vec<u8>, parts: &[&[u8]]) {
    parts.iter().for_each(|part| to.extend_from_slice(part));
}

/// The meaning of a received line that is not part of an expected answer.
#[derive(Debug)]
pub enum Unsolicited {
    /// The server may send such a line at any time.
    Ignored,
    /// The line is a request of the server, to be answered with these bytes.
    Answered(&'static [u8]),
    /// The line refuses a command; the text is the reason.
    Refused(String),
    Wrong,
}

/// The language of a server. Each function but [`unsolicited`](BenchProtocol::unsolicited) appends a command, and its
/// answer if it has one.
pub trait BenchProtocol {
    fn get(&self, name: &[u8], value: &[u8], to: &mut Exchange);

    fn set(&self, name: &[u8], value: &[u8], to: &mut Exchange);

    /// Removes a name from the cache.
    fn remove(&self, name: &[u8], to: &mut Exchange);

    /// A command whose answer comes only after everything sent before it was processed.
    fn barrier(&self, to: &mut Exchange);

    /// A subscription. `before` is the number of names that the connection listens to already.
    fn listen(&self, name: &[u8], before: usize, to: &mut Exchange);

    /// A signal to a number of listeners.
    fn signal(&self, name: &[u8], value: &[u8], listeners: usize, to: &mut Exchange);

    /// Appends the bytes that each listener of a signal receives.
    fn delivery(&self, name: &[u8], value: &[u8], to: &mut Vec<u8>);

    /// Classifies a line (without its end) that is not part of an expected answer.
    fn unsolicited(&self, line: &[u8]) -> Unsolicited;
}

/// The Clacks protocol; see clacks-protocol(7).
pub struct Clacks;

impl BenchProtocol for Clacks {
    fn get(&self, name: &[u8], value: &[u8], to: &mut Exchange) {
        to.ask(&[b"RETRIEVE ", name, b"\r\n"]);
        to.expect(&[b"RETRIEVED ", name, b"=", value, b"\r\n"]);
    }

    fn set(&self, name: &[u8], value: &[u8], to: &mut Exchange) {
        to.ask(&[b"STORE ", name, b"=", value, b"\r\n"]);
    }

    fn remove(&self, name: &[u8], to: &mut Exchange) {
        to.ask(&[b"REMOVE ", name, b"\r\n"]);
    }

    fn barrier(&self, to: &mut Exchange) {
        to.ask(&[b"FLUSH bench\r\n"]);
        to.expect(&[b"FLUSHED bench\r\n"]);
    }

    fn listen(&self, name: &[u8], _before: usize, to: &mut Exchange) {
        to.ask(&[b"LISTEN ", name, b"\r\n"]);
    }

    fn signal(&self, name: &[u8], value: &[u8], _listeners: usize, to: &mut Exchange) {
        to.ask(&[b"SET ", name, b"=", value, b"\r\n"]);
    }

    fn delivery(&self, name: &[u8], value: &[u8], to: &mut Vec<u8>) {
        append(to, &[b"SET ", name, b"=", value, b"\r\n"]);
    }

    fn unsolicited(&self, line: &[u8]) -> Unsolicited {
        let is_error = |flags: &[u8]| flags.contains(&b'E') && !flags.contains(&b'G');
        match line.strip_prefix(b"OVERHEAD ") {
            Some(rest) => match rest.iter().position(|byte| *byte == b' ') {
                Some(blank) if is_error(&rest[..blank]) => {
                    Unsolicited::Refused(String::from_utf8_lossy(&rest[blank + 1..]).into_owned())
                }
                // A client has sent the line to all others.
                _ => Unsolicited::Ignored,
            },
            None if line == b"NOP" || line.starts_with(b"CLACKS ") => Unsolicited::Ignored,
            None => Unsolicited::Wrong,
        }
    }
}
