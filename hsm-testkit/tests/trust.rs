//! The hardware in memory keeps the contracts that hardware must keep.

use std::sync::atomic::{AtomicU64, Ordering};

use hsm_testkit::{MemoryCounter, MemorySealer};

static NEXT: AtomicU64 = AtomicU64::new(0);

hsm_testkit::root_sealer_conformance!(MemorySealer::new());
hsm_testkit::counter_conformance!(MemoryCounter::new(NEXT.fetch_add(1, Ordering::Relaxed)));
