//! The token authority that `hsm serve --dev` has built in.
