//! The server as a process: flags, files, sockets, Unix signals, the service manager, start and end.

mod activation;
mod hardening;
mod installing;
mod listeners;
mod memcached;
mod nats;
mod notifying;
mod service_log;
mod signals_and_shutdown;
mod sockets;
mod start_and_end;
mod starting;
