//! Tests of the table of routes.
