//! Sessions of TLS: one side's keys, and where its handshake stands. The bytes that come and go are the caller's.

use crate::limits::TLS_RECORD;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, UnbufferedConnectionCommon, UnbufferedStatus};
use rustls::{CommonState, Error};
use std::fmt::Display;
use std::ops::Deref;

pub enum Session {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

/// The work that a session does once the records that have come are processed.
#[derive(Debug, Clone, Copy)]
pub enum Task<'a> {
    Nothing,
    /// Encrypts these bytes of lines, at most [`TLS_RECORD`].
    Write(&'a [u8]),
    /// Says that nothing more will be written.
    Close,
}

/// Bytes of lines that were in records.
pub struct Received<'a> {
    /// They go to this place first, which is filled up to `filled`,
    pub room: &'a mut [u8],
    pub filled: usize,
    /// and then to this one.
    pub rest: Vec<u8>,
    /// The peer has said that nothing more will come.
    pub has_ended: bool,
}

impl Received<'_> {
    fn add(&mut self, bytes: &[u8]) {
        let room = &mut self.room[self.filled..];
        let (first, rest) = bytes.split_at(bytes.len().min(room.len()));
        room[..first.len()].copy_from_slice(first);
        self.filled += first.len();
        self.rest.extend_from_slice(rest);
    }

    pub fn is_empty(&self) -> bool {
        self.filled == 0 && self.rest.is_empty()
    }
}

/// Records that were made, to be sent. Used again and again, so that there is always room.
#[derive(Default)]
pub struct Made {
    buffer: Vec<u8>,
    length: usize,
}

impl Made {
    /// Room for a record, what TLS adds to it, and a message of its own before it.
    const ROOM: usize = 2 * TLS_RECORD;

    pub fn clear(&mut self) {
        self.length = 0;
    }

    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.length]
    }

    fn add<E: Display>(
        &mut self,
        encode: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), Error> {
        let end = self.length + Made::ROOM;
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        let encoded = encode(&mut self.buffer[self.length..end]);
        self.length += encoded.map_err(|error| Error::General(error.to_string()))?;
        Ok(())
    }
}

impl Session {
    /// Reports whether the handshake is done.
    pub fn is_open(&self) -> bool {
        let common: &CommonState = match self {
            Session::Server(server) => server,
            Session::Client(client) => client,
        };
        !common.is_handshaking()
    }

    /// Processes the records that have come, and then does the task. Returns how many of their bytes are done with: the caller
    /// keeps the others, and passes them again with more behind them. After an error the session cannot be used again, and
    /// `made` may hold the alert that tells the peer.
    pub fn run(
        &mut self,
        records: &mut [u8],
        task: Task<'_>,
        received: &mut Received<'_>,
        made: &mut Made,
    ) -> Result<usize, Error> {
        match self {
            Session::Server(server) => run(&mut ***server, records, task, received, made),
            Session::Client(client) => run(&mut ***client, records, task, received, made),
        }
    }
}

/// One of the two sides, for which rustls has the call apart.
trait Side: Deref<Target = CommonState> {
    type Data;

    fn step<'s, 'r>(&'s mut self, records: &'r mut [u8]) -> UnbufferedStatus<'s, 'r, Self::Data>;
}

impl Side for UnbufferedConnectionCommon<ServerConnectionData> {
    type Data = ServerConnectionData;

    fn step<'s, 'r>(&'s mut self, records: &'r mut [u8]) -> UnbufferedStatus<'s, 'r, Self::Data> {
        self.process_tls_records(records)
    }
}

impl Side for UnbufferedConnectionCommon<ClientConnectionData> {
    type Data = ClientConnectionData;

    fn step<'s, 'r>(&'s mut self, records: &'r mut [u8]) -> UnbufferedStatus<'s, 'r, Self::Data> {
        self.process_tls_records(records)
    }
}

fn run(
    side: &mut impl Side,
    records: &mut [u8],
    task: Task<'_>,
    received: &mut Received<'_>,
    made: &mut Made,
) -> Result<usize, Error> {
    let result = take_steps(side, records, task, received, made);
    if result.is_err() {
        // The alert that says what is wrong. No records are looked at for that.
        while side.wants_write()
            && let Ok(ConnectionState::EncodeTlsData(mut alert)) = side.step(&mut []).state
        {
            made.add(|room| alert.encode(room))?;
        }
    }
    result
}

fn take_steps(
    side: &mut impl Side,
    records: &mut [u8],
    task: Task<'_>,
    received: &mut Received<'_>,
    made: &mut Made,
) -> Result<usize, Error> {
    let mut done = 0;
    loop {
        let UnbufferedStatus { discard, state, .. } = side.step(&mut records[done..]);
        done += discard;
        match state? {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    done += record.discard;
                    received.add(record.payload);
                }
            }
            ConnectionState::EncodeTlsData(mut message) => made.add(|room| message.encode(room))?,
            // It is sent, or kept, as soon as this returns.
            ConnectionState::TransmitTlsData(transmission) => transmission.done(),
            ConnectionState::PeerClosed => received.has_ended = true,
            ConnectionState::WriteTraffic(mut traffic) => {
                match task {
                    Task::Nothing => {}
                    Task::Write(lines) => made.add(|room| traffic.encrypt(lines, room))?,
                    Task::Close => made.add(|room| traffic.queue_close_notify(room))?,
                }
                return Ok(done);
            }
            _ => {
                return match task {
                    Task::Write(_) => Err(Error::HandshakeNotComplete),
                    Task::Nothing | Task::Close => Ok(done),
                };
            }
        }
    }
}
