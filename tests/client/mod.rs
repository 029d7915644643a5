//! The client library.

mod cache;
mod calls;
mod in_time;
mod lists;
