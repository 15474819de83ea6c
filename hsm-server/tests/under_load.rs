//! Promise: whatever happens to a server under load — `kill -9`, SIGTERM, a full disk, another process, time — what it
//! acknowledged is true, what it refused has not happened, and what it holds is given back.
//!
//! `HSM_SERVER_KILLS` sets how often a server is killed: 3 times if it is not set. `HSM_SERVER_REQUESTS` sets how many
//! requests the test of memory makes: 30,000 if it is not set.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "load/disk.rs"]
mod disk;
#[path = "load/kills.rs"]
mod kills;
#[path = "load/memory.rs"]
mod memory;
#[path = "load/processes.rs"]
mod processes;
#[path = "load/served.rs"]
mod served;
#[path = "load/shutdown.rs"]
mod shutdown;
#[path = "load/time.rs"]
mod time;
#[path = "load/worker.rs"]
mod worker;
