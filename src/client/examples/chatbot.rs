//! A robot for `clacks chat`. It answers greetings, and counts the letters of lines that ask how long they are.
//!
//! `chatbot ADDRESS USER`, with the password in `CLACKS_PASSWORD`.

use clacks::{Client, Error, Message, Options};
use std::time::Duration;

const SIGNAL: &str = "example::chat";
const NAME: &str = "robot";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(user)) = (arguments.next(), arguments.next()) else {
        return Err("usage: chatbot ADDRESS USER".into());
    };
    let password = std::env::var("CLACKS_PASSWORD")?;
    let options = Options::new(&address)?
        .login(&user, &password)
        .calls_itself("chatbot example");
    let mut client = Client::connect(options)?;
    client.listen(SIGNAL)?;
    client.sync()?;
    loop {
        attend(&mut client)?;
    }
}

/// Waits up to a minute for a message, and answers it.
pub fn attend(client: &mut Client) -> Result<(), Error> {
    match client.next(Duration::from_secs(60))? {
        Some(Message::Set { value, .. }) => {
            if let Some(answer) = answer(&value.to_str()) {
                client.set(SIGNAL, format!("{NAME}: {answer}"))?;
            }
        }
        Some(Message::Disconnected(why)) => eprintln!("{why}"),
        Some(Message::Reconnected) => eprintln!("connected again"),
        _ => {}
    }
    Ok(())
}

/// The answer to a line such as `ann: hello`, if there is one.
fn answer(line: &str) -> Option<String> {
    let (who, said) = line.split_once(": ")?;
    // Two robots would answer each other without end.
    if who == NAME {
        return None;
    }
    let said = said.to_lowercase();
    if said.contains("hello") {
        Some(format!("hello {who}"))
    } else if said.contains("how long") {
        Some(format!("{who} has said {} letters", said.chars().count()))
    } else {
        None
    }
}
