//! Looks names up. The system offers that only blocking, so a helper thread does it.

use crate::address::HostPort;
use mio::Waker;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

type Answer = io::Result<Vec<SocketAddr>>;

/// Which question an answer belongs to: one that was given up may be answered later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question(u64);

pub struct Resolver {
    questions: Sender<(Question, HostPort)>,
    answers: Receiver<(Question, Answer)>,
    asked: u64,
}

impl Resolver {
    /// The waker tells the loop that there is an answer.
    pub fn start(waker: Arc<Waker>) -> io::Result<Resolver> {
        let (questions, asked) = channel::<(Question, HostPort)>();
        let (answering, answers) = channel();
        thread::Builder::new()
            .name("resolver".to_owned())
            .spawn(move || {
                // Ends with the loop, which holds the other ends.
                while let Ok(mut newest) = asked.recv() {
                    // What was asked meanwhile replaces it.
                    while let Ok(newer) = asked.try_recv() {
                        newest = newer;
                    }
                    let (question, host) = newest;
                    if answering.send((question, host.resolve())).is_err() || waker.wake().is_err()
                    {
                        return;
                    }
                }
            })?;
        Ok(Resolver {
            questions,
            answers,
            asked: 0,
        })
    }

    pub fn ask(&mut self, host: HostPort) -> Question {
        self.asked += 1;
        let question = Question(self.asked);
        // If the thread is gone no answer comes, and the dial's deadline ends the attempt.
        let _ = self.questions.send((question, host));
        question
    }

    /// The answer to that question, if it has come. Those to earlier ones are dropped.
    pub fn answer(&self, to: Question) -> Option<Answer> {
        self.answers
            .try_iter()
            .find_map(|(question, answer)| (question == to).then_some(answer))
    }
}
