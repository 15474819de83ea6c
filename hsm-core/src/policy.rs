//! Who may do what: data actions, role definitions and assignments, and the one `authorize`.

mod action;
mod rotation;
mod scope;

pub use action::{ActionSet, DataAction};
pub use rotation::{Action, LifetimeAction, Period, RotationPolicy, Trigger};
pub use scope::Scope;
