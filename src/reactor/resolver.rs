//! Looks names up. The system offers that only blocking, so a helper thread does it.

use crate::address::HostPort;
use mio::Waker;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

type Answer = io::Result<Vec<SocketAddr>>;

pub struct Resolver {
    questions: Sender<HostPort>,
    answers: Receiver<Answer>,
}

impl Resolver {
    /// The waker tells the loop that there is an answer.
    pub fn start(waker: Waker) -> io::Result<Resolver> {
        let (questions, asked) = channel::<HostPort>();
        let (answering, answers) = channel();
        thread::Builder::new()
            .name("resolver".to_owned())
            .spawn(move || {
                // Ends with the loop, which holds the other ends.
                while let Ok(mut host) = asked.recv() {
                    // What was asked meanwhile replaces it.
                    while let Ok(newer) = asked.try_recv() {
                        host = newer;
                    }
                    if answering.send(host.resolve()).is_err() || waker.wake().is_err() {
                        return;
                    }
                }
            })?;
        Ok(Resolver { questions, answers })
    }

    pub fn ask(&self, host: HostPort) {
        // If the thread is gone no answer comes, and the dial's deadline ends the attempt.
        let _ = self.questions.send(host);
    }

    /// The newest answer that has come.
    pub fn answer(&self) -> Option<Answer> {
        self.answers.try_iter().last()
    }
}
