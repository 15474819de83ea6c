//! Promise: the software device passes the conformance suite for devices.

use hsm_backend_soft::SoftDevice;

hsm_testkit::device_conformance!(SoftDevice::in_memory().unwrap());
