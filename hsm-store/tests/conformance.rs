//! Promise: an `EmbeddedStore`, in memory and in a file, passes the conformance suite for stores.

use hsm_store::EmbeddedStore;

mod in_memory {
    hsm_testkit::store_conformance!(super::EmbeddedStore::in_memory().unwrap());
}

mod in_a_file {
    hsm_testkit::store_conformance!(super::store_in_a_file());
}

/// A new store in a file that outlives its name: on a system that cannot do that, in a folder that stays.
fn store_in_a_file() -> EmbeddedStore {
    let folder = tempfile::tempdir().unwrap().keep();
    EmbeddedStore::create(folder.join("store.db")).unwrap()
}
