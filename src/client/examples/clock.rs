//! A clock: each second it sends the time of day (UTC) as the signal `example::clock` and stores it in the cache. It also
//! sends `example::notify`, the signal that the chat among the examples of Net::Clacks listens to. Watch it with
//! `clacks listen example::clock example::notify`.
//!
//! `clock ADDRESS USER`, with the password in `CLACKS_PASSWORD`.

use clacks::{Client, Error, Message, Options};
use std::time::{Duration, Instant, SystemTime};

const SIGNAL: &str = "example::clock";
const TICK: &str = "example::notify";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(user)) = (arguments.next(), arguments.next()) else {
        return Err("usage: clock ADDRESS USER".into());
    };
    let password = std::env::var("CLACKS_PASSWORD")?;
    let options = Options::new(&address)?
        .login(&user, &password)
        .calls_itself("clock example");
    let mut client = Client::connect(options)?;
    loop {
        tick(&mut client)?;
    }
}

/// Sends the signals once and waits for the next second.
pub fn tick(client: &mut Client) -> Result<(), Error> {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let second = now.as_secs() % 86_400;
    let (hours, minutes, seconds) = (second / 3600, second / 60 % 60, second % 60);
    let time = format!("{hours:02}:{minutes:02}:{seconds:02}");
    // Lost signals do not matter: the next ones follow in a second.
    let sent = client.set_and_store(SIGNAL, time);
    if let Err(error) = sent.and_then(|()| client.notify(TICK)) {
        eprintln!("{error}");
    }
    // Waiting for messages, rather than sleeping, keeps the connection alive and renews it.
    let next =
        Instant::now() + Duration::from_secs(1) - Duration::from_nanos(now.subsec_nanos().into());
    while let Some(message) = client.next(next.saturating_duration_since(Instant::now()))? {
        if let Message::Error(why) = message {
            return Err(Error::Refused(why.to_str().into_owned()));
        }
    }
    Ok(())
}
