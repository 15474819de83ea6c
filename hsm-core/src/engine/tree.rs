//! The tree that authenticates the store's records, so that the store needs no trust.
//!
//! Every record has a MAC under a key that only the device can make. The MACs lie in 16384 leaves, by a keyed hash of the
//! record's address; the MACs of the leaves lie in 128 nodes, and the MACs of those in the **anchor**, one record that also holds
//! the head of the journal and the latest time seen. Whoever edits, swaps, removes, plants or puts back an older copy of
//! a record does not know a MAC for the anchor that goes with it. Only an older copy of the *whole* store is consistent
//! with itself: to tell that takes a counter outside the store ([`count`](super::count)), whose number the anchor has too.
//!
//! Reading a record takes two reads of the store (the record and its leaf), and two more when the store has changed
//! since the last one. `docs/store_records.md` describes the format to the byte.

use std::cell::RefCell;
use std::sync::{Arc, OnceLock};

use hmac::{Hmac, KeyInit, Mac as _};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::count::Counted;
use super::record;
use crate::audit::ChainHead;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::SecretBytes;
use crate::store::{Snapshot, Space, Transaction};

/// Leaves to a node, and nodes. With 100,000 keys a leaf has a dozen entries, which SQLite reads in one page.
const FANOUT: usize = 128;
const MAC_LEN: usize = 16;
const ADDRESS_LEN: usize = 16;
const ENTRY_LEN: usize = ADDRESS_LEN + MAC_LEN;
const ANCHOR_KEY: &[u8] = b"anchor";

type Mac = [u8; MAC_LEN];
type Macs = [Mac; FANOUT];

/// What all records of the store hang on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Anchor {
    /// The latest time at which anything changed.
    pub(super) latest: Timestamp,
    /// Where the journal stands.
    pub(super) journal: ChainHead,
    /// How many changes were counted, if the partition has a counter.
    pub(super) counted: Option<Counted>,
    nodes: Vec<Mac>,
}

impl Anchor {
    /// The anchor of an empty store.
    pub(super) fn empty(journal: ChainHead, now: Timestamp, counted: Option<Counted>) -> Self {
        Self {
            latest: now,
            journal,
            counted,
            nodes: vec![[0; MAC_LEN]; FANOUT],
        }
    }
}

/// The MAC key and what was last read of the top of the tree.
pub(super) struct Tree {
    key: Hmac<Sha256>,
    top: Mutex<Option<Arc<Top>>>,
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tree").finish_non_exhaustive()
    }
}

/// The top of the tree at one version of the store: the anchor, and the nodes that were needed so far.
struct Top {
    version: u64,
    anchor: Anchor,
    nodes: [OnceLock<Box<Macs>>; FANOUT],
}

impl Tree {
    pub(super) fn new(key: &SecretBytes) -> Self {
        let key = Hmac::new_from_slice(key.expose()).expect("HMAC takes keys of any length");
        Self {
            key,
            top: Mutex::new(None),
        }
    }

    /// Reads the store as `snapshot` shows it.
    pub(super) fn view<'s>(&'s self, snapshot: &'s dyn Snapshot) -> Result<View<'s>> {
        let version = snapshot.version()?;
        let cached = self.top.lock().clone().filter(|top| top.version == version);
        let top = match cached {
            Some(top) => top,
            None => {
                let top = Arc::new(Top {
                    version,
                    anchor: self.read_anchor(snapshot)?,
                    nodes: [const { OnceLock::new() }; FANOUT],
                });
                *self.top.lock() = Some(top.clone());
                top
            }
        };
        Ok(View {
            tree: self,
            snapshot,
            top,
            leaf: RefCell::default(),
        })
    }

    /// Changes the store in `transaction`.
    pub(super) fn changes<'t>(
        &'t self,
        transaction: &'t mut dyn Transaction,
    ) -> Result<Changes<'t>> {
        let anchor = self.read_anchor(&*transaction)?;
        Ok(Changes {
            tree: self,
            transaction,
            anchor,
        })
    }

    /// Starts the tree of a new store.
    pub(super) fn plant<'t>(
        &'t self,
        transaction: &'t mut dyn Transaction,
        anchor: Anchor,
    ) -> Changes<'t> {
        Changes {
            tree: self,
            transaction,
            anchor,
        }
    }

    fn read_anchor(&self, snapshot: &dyn Snapshot) -> Result<Anchor> {
        let bytes = snapshot
            .read(Space::Meta, ANCHOR_KEY)?
            .ok_or_else(|| damaged("the anchor of the store is missing"))?;
        let Some((body, mac)) = bytes.split_last_chunk::<32>() else {
            return Err(damaged("the anchor of the store is cut off"));
        };
        if !bool::from(self.mac(&[b"anchor", body]).ct_eq(mac)) {
            return Err(damaged(
                "the anchor of the store was changed, or belongs to another HSM",
            ));
        }
        let anchor: Anchor =
            decode(body).map_err(|_| damaged("the anchor of the store is unreadable"))?;
        if anchor.nodes.len() != FANOUT {
            return Err(damaged("the anchor of the store has another shape"));
        }
        Ok(anchor)
    }

    fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.key.clone();
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// The MAC of a backup of a key, which lies outside the store.
    pub(super) fn backup_mac(&self, backup: &[u8]) -> [u8; 32] {
        self.mac(&[b"key backup", backup])
    }

    fn short_mac(&self, parts: &[&[u8]]) -> Mac {
        let mac = self.mac(parts);
        let mut short = [0; MAC_LEN];
        short.copy_from_slice(&mac[..MAC_LEN]);
        // All zeros means "nothing here"; no MAC may read so.
        if short == [0; MAC_LEN] {
            short[0] = 1;
        }
        short
    }

    /// Where a record stands: by a keyed hash, so that nobody can choose names that fill one leaf.
    fn place(&self, space: Space, key: &[u8]) -> Place {
        let mac = self.mac(&[b"address", space.name().as_bytes(), key]);
        let mut address = [0; ADDRESS_LEN];
        address.copy_from_slice(&mac[..ADDRESS_LEN]);
        // A key and its versions share a leaf, which is then read once for all of them.
        let (kind, name) = match space {
            Space::Keys | Space::DeletedKeys => ("key", key),
            Space::Versions => ("key", record::name_of_version(key)),
            _ => (space.name(), key),
        };
        let leaf = self.mac(&[b"place", kind.as_bytes(), name]);
        Place {
            address,
            leaf: u16::from_be_bytes([leaf[0], leaf[1]]) >> 2,
        }
    }

    fn record_mac(&self, space: Space, key: &[u8], value: &[u8]) -> Mac {
        self.short_mac(&[b"record", space.name().as_bytes(), key, value])
    }

    /// Reads a node and checks it against its MAC in the anchor.
    fn read_node(
        &self,
        snapshot: &dyn Snapshot,
        place: Place,
        expected: &Mac,
    ) -> Result<Box<Macs>> {
        if *expected == [0; MAC_LEN] {
            return Ok(Box::new([[0; MAC_LEN]; FANOUT]));
        }
        let bytes = snapshot
            .read(Space::Tree, &place.node_key())?
            .unwrap_or_default();
        if !bool::from(
            self.short_mac(&[b"node", &place.node_key(), &bytes])
                .ct_eq(expected),
        ) {
            return Err(damaged(format!(
                "node {} of the record tree was changed",
                place.node()
            )));
        }
        let mut node = Box::new([[0; MAC_LEN]; FANOUT]);
        for (mac, bytes) in node.iter_mut().zip(bytes.chunks_exact(MAC_LEN)) {
            mac.copy_from_slice(bytes);
        }
        Ok(node)
    }

    /// Reads a leaf and checks it against its MAC in the node above.
    fn read_leaf(&self, snapshot: &dyn Snapshot, place: Place, expected: &Mac) -> Result<Vec<u8>> {
        if *expected == [0; MAC_LEN] {
            return Ok(Vec::new());
        }
        let bytes = snapshot
            .read(Space::Tree, &place.leaf_key())?
            .unwrap_or_default();
        if !bool::from(
            self.short_mac(&[b"leaf", &place.leaf_key(), &bytes])
                .ct_eq(expected),
        ) || bytes.len() % ENTRY_LEN != 0
        {
            return Err(damaged(format!(
                "leaf {} of the record tree was changed",
                place.leaf
            )));
        }
        Ok(bytes)
    }

    /// Reads a record and checks it against its entry in `leaf`.
    fn check_record(
        &self,
        space: Space,
        key: &[u8],
        value: Option<Vec<u8>>,
        place: Place,
        leaf: &[u8],
    ) -> Result<Option<Vec<u8>>> {
        let entry = find(leaf, &place.address)
            .ok()
            .map(|at| &leaf[at + ADDRESS_LEN..at + ENTRY_LEN]);
        let problem = match (value, entry) {
            (None, None) => return Ok(None),
            (Some(value), Some(mac))
                if bool::from(self.record_mac(space, key, &value).ct_eq(mac)) =>
            {
                return Ok(Some(value));
            }
            (Some(_), Some(_)) => "was edited, or is an older copy",
            (Some(_), None) => "was planted",
            (None, Some(_)) => "was removed",
        };
        Err(damaged(format!(
            "{} {problem}",
            record::describe(space, key)
        )))
    }
}

/// Where a record stands in the tree.
#[derive(Clone, Copy)]
struct Place {
    address: [u8; ADDRESS_LEN],
    leaf: u16,
}

impl Place {
    fn node(self) -> usize {
        usize::from(self.leaf) / FANOUT
    }

    fn in_node(self) -> usize {
        usize::from(self.leaf) % FANOUT
    }

    fn node_key(self) -> [u8; 2] {
        [1, self.node().to_le_bytes()[0]]
    }

    fn leaf_key(self) -> [u8; 3] {
        let [high, low] = self.leaf.to_be_bytes();
        [2, high, low]
    }
}

/// Finds the entry of `address` in a leaf: `Ok` with its offset, or `Err` with where it would stand.
fn find(leaf: &[u8], address: &[u8; ADDRESS_LEN]) -> std::result::Result<usize, usize> {
    let (mut low, mut high) = (0, leaf.len() / ENTRY_LEN);
    while low < high {
        let middle = usize::midpoint(low, high);
        let at = middle * ENTRY_LEN;
        match leaf[at..at + ADDRESS_LEN].cmp(address) {
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Equal => return Ok(at),
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    Err(low * ENTRY_LEN)
}

/// Records of a store, as anybody may believe them.
pub(super) trait Records {
    /// The anchor.
    fn anchor(&self) -> &Anchor;

    /// The record of `key`, checked.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// The rows below, unchecked: what is read of them must be checked another way.
    fn rows(&self) -> &dyn Snapshot;

    /// Up to `limit` records after `after` with keys that start with `prefix`, each checked.
    fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let rows = self.rows().scan(space, prefix, after, limit)?.into_iter();
        let checked = rows.map(|(key, _)| {
            // The record that was checked, not the one that the scan showed: the store may answer each as it likes.
            let record = self
                .get(space, &key)?
                .ok_or_else(|| damaged(format!("{} was planted", record::describe(space, &key))))?;
            Ok((key, record))
        });
        checked.collect()
    }
}

/// A checked view of a snapshot.
pub(super) struct View<'s> {
    tree: &'s Tree,
    snapshot: &'s dyn Snapshot,
    top: Arc<Top>,
    /// The leaf that was read last, checked.
    leaf: RefCell<Option<(u16, Vec<u8>)>>,
}

impl View<'_> {
    /// The store's version that the view shows.
    pub(super) fn version(&self) -> u64 {
        self.top.version
    }
}

impl View<'_> {
    fn read_leaf(&self, place: Place) -> Result<Vec<u8>> {
        let node = match self.top.nodes[place.node()].get() {
            Some(node) => node,
            None => {
                let expected = &self.top.anchor.nodes[place.node()];
                let node = self.tree.read_node(self.snapshot, place, expected)?;
                self.top.nodes[place.node()].get_or_init(|| node)
            }
        };
        self.tree
            .read_leaf(self.snapshot, place, &node[place.in_node()])
    }
}

impl Records for View<'_> {
    fn anchor(&self) -> &Anchor {
        &self.top.anchor
    }

    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let place = self.tree.place(space, key);
        let mut last = self.leaf.borrow_mut();
        let leaf = match &mut *last {
            Some((at, leaf)) if *at == place.leaf => leaf,
            last => &mut last.insert((place.leaf, self.read_leaf(place)?)).1,
        };
        let value = self.snapshot.read(space, key)?;
        self.tree.check_record(space, key, value, place, leaf)
    }

    fn rows(&self) -> &dyn Snapshot {
        self.snapshot
    }
}

/// A transaction whose changes keep the tree right. Nothing counts until [`finish`](Changes::finish).
pub(super) struct Changes<'t> {
    tree: &'t Tree,
    transaction: &'t mut dyn Transaction,
    anchor: Anchor,
}

impl Changes<'_> {
    /// Writes a record.
    pub(super) fn put(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<()> {
        let mac = self.tree.record_mac(space, key, value);
        self.edit_leaf(space, key, |leaf, place| match find(leaf, &place.address) {
            Ok(at) => leaf[at + ADDRESS_LEN..at + ENTRY_LEN].copy_from_slice(&mac),
            Err(at) => {
                let mut entry = [0; ENTRY_LEN];
                entry[..ADDRESS_LEN].copy_from_slice(&place.address);
                entry[ADDRESS_LEN..].copy_from_slice(&mac);
                leaf.splice(at..at, entry);
            }
        })?;
        self.transaction.put(space, key, value)
    }

    /// Removes a record.
    pub(super) fn remove(&mut self, space: Space, key: &[u8]) -> Result<()> {
        self.edit_leaf(space, key, |leaf, place| {
            if let Ok(at) = find(leaf, &place.address) {
                leaf.drain(at..at + ENTRY_LEN);
            }
        })?;
        self.transaction.remove(space, key)
    }

    /// A number below `count` for `name`, which only the device can foretell.
    pub(super) fn secret_place(&self, name: &[u8], count: u16) -> u16 {
        let [first, second, ..] = self.tree.mac(&[b"secret place", name]);
        u16::from_be_bytes([first, second]) % count
    }

    /// Writes a row that something else than the tree authenticates (the journal's chain).
    pub(super) fn put_row(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<()> {
        self.transaction.put(space, key, value)
    }

    /// How many changes were counted.
    pub(super) fn counted(&self) -> Option<Counted> {
        self.anchor.counted
    }

    /// Says how many changes were counted.
    pub(super) fn count(&mut self, counted: Option<Counted>) {
        self.anchor.counted = counted;
    }

    /// Lets time go back, this once.
    pub(super) fn take_time_back(&mut self, now: Timestamp) {
        self.anchor.latest = now;
    }

    /// Writes the anchor: with the journal's new head, everything that was changed becomes part of the store.
    pub(super) fn finish(mut self, journal: ChainHead, now: Timestamp) -> Result<()> {
        self.anchor.journal = journal;
        self.anchor.latest = now.max(self.anchor.latest);
        let mut bytes = encode(&self.anchor)?;
        let mac = self.tree.mac(&[b"anchor", &bytes]);
        bytes.extend_from_slice(&mac);
        self.transaction.put(Space::Meta, ANCHOR_KEY, &bytes)
    }

    fn edit_leaf(
        &mut self,
        space: Space,
        key: &[u8],
        edit: impl FnOnce(&mut Vec<u8>, Place),
    ) -> Result<()> {
        let place = self.tree.place(space, key);
        let tree = self.tree;
        let mut node =
            tree.read_node(&*self.transaction, place, &self.anchor.nodes[place.node()])?;
        let mut leaf = tree.read_leaf(&*self.transaction, place, &node[place.in_node()])?;
        // What is replaced must be right, or the change would cover up what was done to it.
        let old = self.transaction.read(space, key)?;
        tree.check_record(space, key, old, place, &leaf)?;
        edit(&mut leaf, place);
        node[place.in_node()] = if leaf.is_empty() {
            [0; MAC_LEN]
        } else {
            tree.short_mac(&[b"leaf", &place.leaf_key(), &leaf])
        };
        let node_bytes = node.as_flattened();
        self.anchor.nodes[place.node()] = tree.short_mac(&[b"node", &place.node_key(), node_bytes]);
        self.transaction
            .put(Space::Tree, &place.leaf_key(), &leaf)?;
        self.transaction
            .put(Space::Tree, &place.node_key(), node_bytes)
    }
}

impl Records for Changes<'_> {
    fn anchor(&self) -> &Anchor {
        &self.anchor
    }

    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let place = self.tree.place(space, key);
        let node = self
            .tree
            .read_node(self.rows(), place, &self.anchor.nodes[place.node()])?;
        let leaf = self
            .tree
            .read_leaf(self.rows(), place, &node[place.in_node()])?;
        let value = self.transaction.read(space, key)?;
        self.tree.check_record(space, key, value, place, &leaf)
    }

    fn rows(&self) -> &dyn Snapshot {
        &*self.transaction
    }
}

/// Encodes a record.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    postcard::to_allocvec(value).map_err(|source| {
        Error::new(ErrorKind::InvalidInput, "the record cannot be encoded").with_source(source)
    })
}

/// Decodes a record, all of it.
pub(super) fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(damaged("bytes follow the end of the record")),
        Err(source) => Err(damaged("the record cannot be decoded").with_source(source)),
    }
}

pub(super) fn damaged(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Damaged, message)
}
