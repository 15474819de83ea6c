//! Promise: the store and the audit sink in memory keep the contracts of `Store` and `AuditSink`: they are the models for
//! the others.

use hsm_testkit::{MemoryAudit, MemoryStore};

hsm_testkit::store_conformance!(MemoryStore::new());

hsm_testkit::store_durability!({
    let shared = MemoryStore::new();
    move || shared.clone()
});

hsm_testkit::audit_conformance!(MemoryAudit::new());
