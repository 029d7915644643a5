use clacks::{Client, Error, Options};
use std::time::Duration;

fn main() -> Result<(), Error> {
    let options = Options::new("unix:/run/clacksd/clacksd.sock")?.login("lamp", "password");
    let mut client = Client::connect(options)?;
    client.listen("kitchen::light")?;
    while let Some(message) = client.next(Duration::from_secs(60))? {
        println!("{message:?}");
    }
    Ok(())
}
