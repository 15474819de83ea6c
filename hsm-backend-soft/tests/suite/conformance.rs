//! The software device passes the conformance suite for devices.

hsm_testkit::device_conformance!(crate::options().in_memory().unwrap());
