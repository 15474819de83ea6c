//! Promise: whatever fails, and whether before its effect or after it, an engine keeps its word: what it acknowledged is
//! there, what it could not audit was not done, nothing is half-made, and the kind of the error says what may have
//! happened.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "engine_faults/damage.rs"]
mod damage;
#[path = "engine_faults/devices.rs"]
mod devices;
#[path = "engine_faults/house.rs"]
mod house;
#[path = "engine_faults/kinds.rs"]
mod kinds;
#[path = "engine_faults/outages.rs"]
mod outages;
#[path = "engine_faults/stalls.rs"]
mod stalls;
