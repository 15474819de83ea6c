//! Who may do what: data actions, role definitions and assignments, and the one `authorize`.

mod action;
mod scope;

pub use action::{ActionSet, DataAction};
pub use scope::Scope;
