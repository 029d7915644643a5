//! What a server is asked and what it must answer, byte by byte. The tests have speakers of other servers'
//! protocols, so that all are driven by the same code.

/// Requests, and the answers to all of them. Whoever hears anything else knows that something is wrong.
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

    pub fn ask(&mut self, parts: &[&[u8]]) {
        append(&mut self.request, parts);
    }

    pub fn expect(&mut self, parts: &[&[u8]]) {
        append(&mut self.answer, parts);
    }
}

pub fn append(to: &mut Vec<u8>, parts: &[&[u8]]) {
    parts.iter().for_each(|part| to.extend_from_slice(part));
}

/// What a line is that was not expected.
#[derive(Debug)]
pub enum Aside {
    /// Servers may say that at any time.
    Ignored,
    /// It wants this answer.
    Answered(&'static [u8]),
    Refused(String),
    Wrong,
}

/// Each function appends a command, and its answer if it has one.
pub trait Speaker {
    fn get(&self, name: &[u8], value: &[u8], to: &mut Exchange);

    fn set(&self, name: &[u8], value: &[u8], to: &mut Exchange);

    /// Takes a name out of the cache.
    fn remove(&self, name: &[u8], to: &mut Exchange);

    /// Something with an answer that comes only when all before it is worked off.
    fn barrier(&self, to: &mut Exchange);

    /// `before` is how many names the connection listens to already.
    fn listen(&self, name: &[u8], before: usize, to: &mut Exchange);

    /// A signal to so many listeners.
    fn signal(&self, name: &[u8], value: &[u8], listeners: usize, to: &mut Exchange);

    /// Appends what each of them gets.
    fn delivery(&self, name: &[u8], value: &[u8], to: &mut Vec<u8>);

    /// A line (without its end) that is not what was expected.
    fn aside(&self, line: &[u8]) -> Aside;
}

/// What this project's servers speak (clacks-protocol(7)).
pub struct Clacks;

impl Speaker for Clacks {
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

    fn aside(&self, line: &[u8]) -> Aside {
        let is_error = |flags: &[u8]| flags.contains(&b'E') && !flags.contains(&b'G');
        match line.strip_prefix(b"OVERHEAD ") {
            Some(rest) => match rest.iter().position(|byte| *byte == b' ') {
                Some(blank) if is_error(&rest[..blank]) => {
                    Aside::Refused(String::from_utf8_lossy(&rest[blank + 1..]).into_owned())
                }
                // Somebody else's, to all.
                _ => Aside::Ignored,
            },
            None if line == b"NOP" || line.starts_with(b"CLACKS ") => Aside::Ignored,
            None => Aside::Wrong,
        }
    }
}
