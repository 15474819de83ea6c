//! x
#![forbid(unsafe_code)]

mod command;
mod failure;
mod import;
mod kdf;
mod return_code;
mod root;
mod sealed;
mod session;
mod template;
mod transport;
mod wire;

pub use self::root::RootName;
pub use self::transport::{KernelTransport, Sharing, TcpTransport, Transport, is_undelivered, read_response};
