//! Does what programs do with async-nats, and prints what comes of it: `rust_client HOST PORT STEP...`.
//!
//! The steps have the same names and mean the same in all clients of this folder. Each line of output begins with the name of
//! its step, and has no port, time or random word in it. Certificates are judged by the file `NATS_CA`.

mod connection;
mod steps;

use connection::Told;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().expect("HOST PORT STEP...");
    let (host, port) = (next(), next());
    for step in arguments {
        let told = Told {
            address: format!("{host}:{port}"),
            port: port.clone(),
            step: step.clone(),
        };
        steps::run(&step, &told).await;
    }
}
