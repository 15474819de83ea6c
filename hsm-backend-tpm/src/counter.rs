//! [`TpmCounter`]: a counter in the TPM's own memory (TPM 2.0 Library part 1, section 37.2.5), and the file that says which.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use async_lock::MutexGuardArc;
use async_trait::async_trait;
use futures_channel::oneshot;
use hsm_core::limits::COUNTER_AHEAD_MAX;
use hsm_core::{Error, ErrorKind, MonotonicCounter, Result};
use sha2::{Digest, Sha256};
use tpm2_protocol::data::{TpmAlgId, TpmCc, TpmRcBase, TpmRh, TpmaNv};
use zeroize::Zeroizing;

use crate::command::{Command, Entity};
use crate::failure::{Failure, damaged, failed};
use crate::kdf::DIGEST_LEN;
use crate::root::{NAME_LEN, RootName, object_name};
use crate::tpm::Tpm;
use crate::wire::Writer;
use crate::worker::Worker;

/// A counter in a TPM: [`TpmRoot::create_counter`](crate::TpmRoot::create_counter). It only grows; who deletes it and makes it
/// again gets one that starts above all that the TPM has ever had.
///
/// The file that names it is also the lock by which processes take turns to count: all must have the same file, not copies.
///
/// A step costs milliseconds, and a little of the TPM's life: how many it lasts for says its data sheet.
pub struct TpmCounter {
    worker: Arc<Worker>,
    place: Place,
    /// The file, locked by who counts. Within the process one at a time has it.
    turn: Arc<async_lock::Mutex<File>>,
}

impl TpmCounter {
    pub(crate) fn create(worker: Arc<Worker>, path: &Path) -> Result<Self> {
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|source| match source.kind() {
                io::ErrorKind::AlreadyExists => Error::new(
                    ErrorKind::Conflict,
                    format!("{} exists; it names a counter already", path.display()),
                ),
                _ => not_written(path, source),
            })?;
        let made = make(&worker, &file, path);
        if made.is_err() {
            // It names nothing.
            _ = fs::remove_file(path);
        }
        Ok(Self::new(worker, made?, file))
    }

    pub(crate) fn open(worker: Arc<Worker>, path: &Path) -> Result<Self> {
        let not_read = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => Error::new(
                ErrorKind::NotFound,
                format!("there is no {}, which names the counter", path.display()),
            ),
            _ => Error::new(
                ErrorKind::StoreFailed,
                format!("{} cannot be read", path.display()),
            )
            .with_source(source),
        };
        let mut file = File::open(path).map_err(not_read)?;
        let mut text = Zeroizing::new(Vec::with_capacity(FILE_LEN_MAX));
        let most = u64::try_from(FILE_LEN_MAX).unwrap_or(u64::MAX);
        Read::by_ref(&mut file)
            .take(most)
            .read_to_end(&mut text)
            .map_err(not_read)?;
        let place = Place::from_text(&text).ok_or_else(|| {
            damaged(format!(
                "{} is not as it was written, and names no counter; restore it from a copy of the folder",
                path.display()
            ))
        })?;
        Ok(Self::new(worker, place, file))
    }

    fn new(worker: Arc<Worker>, place: Place, file: File) -> Self {
        Self {
            worker,
            place,
            turn: Arc::new(async_lock::Mutex::new(file)),
        }
    }

    /// The handle of the NV index, for `tpm2_nvreadpublic` and `tpm2_nvundefine`.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.place.index
    }

    async fn run<T: Send + 'static>(
        &self,
        call: impl Fn(&mut Tpm, &Place) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T> {
        let place = self.place.clone();
        let run = move |tpm: &mut Tpm| {
            tpm.pin_to(place.root)?;
            tpm.run(|tpm| call(tpm, &place).map_err(|failure| explain(tpm, &place, failure)))
        };
        self.worker.run(run).await
    }
}

#[async_trait]
impl MonotonicCounter for TpmCounter {
    fn identity(&self) -> [u8; 32] {
        Sha256::new()
            .chain_update(b"hsm tpm counter v1")
            .chain_update(self.place.root.as_bytes())
            .chain_update(self.place.name())
            .chain_update(self.place.auth.as_slice())
            .finalize()
            .into()
    }

    async fn read(&self) -> Result<u64> {
        self.run(read).await
    }

    async fn advance(&self, to: u64) -> Result<()> {
        let locked = Locked::wait(self.turn.lock_arc().await).await?;
        let advance = move |tpm: &mut Tpm, place: &Place| {
            // It goes with the call: one that was given up still has its turn.
            let _held = &locked;
            let mut value = read(tpm, place)?;
            if to.saturating_sub(value) > COUNTER_AHEAD_MAX {
                return Err(too_far(value, to).into());
            }
            while value < to {
                increment(tpm, place)?;
                value = read(tpm, place)?;
            }
            Ok(())
        };
        self.run(advance).await
    }
}

impl fmt::Debug for TpmCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TpmCounter")
            .field("index", &format_args!("{:#010x}", self.place.index))
            .finish_non_exhaustive()
    }
}

/// The file while this process counts, and the turn of who counts in it. The lock is the process's, so whoever waits for it keeps
/// the turn until it has come, also if nobody waits any more: it would otherwise be unlocked under the next.
struct Locked(MutexGuardArc<File>);

impl Locked {
    /// Waits until no other process counts.
    async fn wait(file: MutexGuardArc<File>) -> Result<Self> {
        let unlockable = |source: io::Error| {
            failed("the file of the counter cannot be locked").with_source(source)
        };
        match file.try_lock() {
            Ok(()) => return Ok(Self(file)),
            Err(TryLockError::Error(source)) => return Err(unlockable(source)),
            Err(TryLockError::WouldBlock) => {}
        }
        let (sender, receiver) = oneshot::channel();
        std::thread::Builder::new()
            .name("hsm counter".to_owned())
            .spawn(move || {
                let locked = file.lock().map(|()| Self(file));
                // Unlocked again if nobody waits any more.
                drop(sender.send(locked));
            })
            .map_err(|source| failed("the system starts no thread").with_source(source))?;
        let locked = receiver.await;
        locked
            .unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()))
            .map_err(unlockable)
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // It ends with the process at the latest.
        _ = self.0.unlock();
    }
}

/// Which counter of which TPM it is, and what it takes to use it.
#[derive(Clone)]
struct Place {
    root: RootName,
    index: u32,
    auth: Zeroizing<[u8; DIGEST_LEN]>,
}

impl Place {
    /// A place that may be free.
    fn choose(root: RootName) -> Result<Self> {
        let mut random = [0; 4];
        let mut auth = Zeroizing::new([0; DIGEST_LEN]);
        getrandom::fill(&mut random)
            .and_then(|()| getrandom::fill(&mut *auth))
            .map_err(|_| failed("the system has no random numbers"))?;
        Ok(Self {
            root,
            index: INDEX_FIRST | (u32::from_be_bytes(random) & INDEX_MASK),
            auth,
        })
    }

    /// The name that the TPM gives it once it was counted. All of its properties are in it but the authorization value.
    fn name(&self) -> [u8; NAME_LEN] {
        let mut public = Writer::new();
        public_area(&mut public, self.index, attributes() | TpmaNv::WRITTEN);
        object_name(public.as_slice())
    }

    /// The name before.
    fn first_name(&self) -> [u8; NAME_LEN] {
        let mut public = Writer::new();
        public_area(&mut public, self.index, attributes());
        object_name(public.as_slice())
    }

    fn entity(&self) -> Entity {
        Entity::object(self.index, &self.name())
    }

    /// Five lines: what it is, the root key, the index, the authorization value, and SHA-256 of the lines before, which finds rot
    /// and not edits. Nobody gains by an edit: the store does not open with another counter.
    fn to_text(&self) -> Zeroizing<String> {
        let auth = Zeroizing::new(hex(&*self.auth));
        let named = Zeroizing::new(format!(
            "{MAGIC}\n{}\n{:08x}\n{}\n",
            self.root, self.index, *auth
        ));
        let digest = hex(&Sha256::digest(named.as_bytes()));
        Zeroizing::new(format!("{}{digest}\n", *named))
    }

    fn from_text(text: &[u8]) -> Option<Self> {
        let read = std::str::from_utf8(text).ok()?;
        let mut lines = read.lines().skip(1);
        let root = lines.next()?.parse().ok()?;
        let index = u32::from_str_radix(lines.next()?, 16).ok()?;
        let digits = lines.next()?;
        let mut auth = Zeroizing::new([0; DIGEST_LEN]);
        for (at, byte) in auth.iter_mut().enumerate() {
            *byte = u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        let place = Self { root, index, auth };
        (place.to_text().as_bytes() == text).then_some(place)
    }
}

/// Makes a counter that has counted once, and names it in `file`, which is at `path`.
fn make(worker: &Worker, mut file: &File, path: &Path) -> Result<Place> {
    let root = worker.run_blocking(|tpm| tpm.root_name())?;
    for _ in 0..ATTEMPTS {
        let place = Place::choose(root)?;
        // The file first, and its name in the folder: a TPM has few places, and whoever dies in between must leave no index that
        // nothing names, nor a store that has counted in one.
        file.set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(place.to_text().as_bytes()))
            .and_then(|()| file.sync_all())
            .and_then(|()| File::open(folder_of(path)))
            .and_then(|folder| folder.sync_all())
            .map_err(|source| not_written(path, source))?;
        let wanted = place.clone();
        if worker.run_blocking(move |tpm| define(tpm, &wanted))? {
            return Ok(place);
        }
    }
    Err(failed("the TPM has no free index for a counter"))
}

/// Makes the index and counts once; or not, if the index is somebody else's. Whatever fails leaves no index, if the TPM can be asked.
fn define(tpm: &mut Tpm, place: &Place) -> Result<bool> {
    let (mut attempts, mut is_ours) = (0, false);
    let made = tpm.run(|tpm| {
        attempts += 1;
        match define_space(tpm, place) {
            Ok(()) => {
                is_ours = true;
                first_increment(tpm, place)?;
                Ok(true)
            }
            // The answer to the attempt before may have been lost.
            Err(Failure::Code(code)) if code.base() == Some(TpmRcBase::NvDefined) => {
                Ok(attempts > 1 && begun_before(tpm, place)?)
            }
            Err(failure) => Err(failure),
        }
    });
    if made.is_err() && is_ours {
        _ = tpm.run(|tpm| undefine(tpm, place));
    }
    made
}

fn define_space(tpm: &mut Tpm, place: &Place) -> Result<(), Failure> {
    let command = Command::new(TpmCc::NvDefineSpace)
        .authorized(Entity::permanent(TpmRh::Owner.value()), &[])
        .parameters(|out| {
            out.sized(&*place.auth);
            out.sized_with(|public| public_area(public, place.index, attributes()));
        })
        .secret_in();
    match tpm.call(&command) {
        Err(Failure::Code(code)) if code.base() == Some(TpmRcBase::NvSpace) => {
            Err(Error::new(
                ErrorKind::LimitExceeded,
                "the TPM has no place for another counter; free one that nobody needs (tpm2_getcap handles-nv-index, tpm2_nvundefine)",
            )
            .into())
        }
        Err(failure) if failure.is_unauthorized() => Err(Error::new(
            ErrorKind::Denied,
            "the owner hierarchy of the TPM has a password, so only its owner makes counters in it",
        )
        .into()),
        result => result.map(drop),
    }
}

/// Whether an index that is there is the one that was just begun; it has counted once then. One of the same name asks for the
/// authorization value, and does not mind wrong ones (`NO_DA`).
fn begun_before(tpm: &mut Tpm, place: &Place) -> Result<bool, Failure> {
    let name = name_now(tpm, place)?;
    if name == place.name() {
        read(tpm, place)?;
    } else if name == place.first_name() {
        first_increment(tpm, place)?;
    } else {
        return Ok(false);
    }
    Ok(true)
}

fn undefine(tpm: &mut Tpm, place: &Place) -> Result<(), Failure> {
    let name = name_now(tpm, place)?;
    let command = Command::new(TpmCc::NvUndefineSpace)
        .authorized(Entity::permanent(TpmRh::Owner.value()), &[])
        .handle(Entity::object(place.index, &name));
    tpm.call(&command).map(drop)
}

/// The name of an index. Believed only as far as a session's HMAC is over it.
fn name_now(tpm: &mut Tpm, place: &Place) -> Result<Vec<u8>, Failure> {
    let command = Command::new(TpmCc::NvReadPublic).handle(Entity::permanent(place.index));
    let response = tpm.call_plain(&command)?;
    let mut reader = response.reader();
    reader.sized()?; // the public area
    let name = reader.sized()?.to_vec();
    reader.end()?;
    Ok(name)
}

fn first_increment(tpm: &mut Tpm, place: &Place) -> Result<(), Failure> {
    let entity = Entity::object(place.index, &place.first_name());
    let command = Command::new(TpmCc::NvIncrement)
        .authorized(entity.clone(), &*place.auth)
        .handle(entity);
    // The TPM names it anew while it answers: the session is asked about the name of before.
    tpm.call(&command).map(drop)
}

fn increment(tpm: &mut Tpm, place: &Place) -> Result<(), Failure> {
    let command = Command::new(TpmCc::NvIncrement)
        .authorized(place.entity(), &*place.auth)
        .handle(place.entity());
    tpm.call(&command).map(drop)
}

fn read(tpm: &mut Tpm, place: &Place) -> Result<u64, Failure> {
    let command = Command::new(TpmCc::NvRead)
        .authorized(place.entity(), &*place.auth)
        .handle(place.entity())
        .parameters(|out| {
            out.u16(VALUE_LEN).u16(0); // all of it
        });
    let response = tpm.call(&command)?;
    let mut reader = response.reader();
    let value = reader.sized()?.try_into().map_err(|_| Failure::Altered)?;
    reader.end()?;
    Ok(u64::from_be_bytes(value))
}

/// What a failure means for a counter.
fn explain(tpm: &mut Tpm, place: &Place, failure: Failure) -> Failure {
    if failure.is_unauthorized() {
        return failed(
            "the counter in the TPM is not the one that was made: it was defined anew, or the file that names it was edited",
        )
        .into();
    }
    if !matches!(&failure, Failure::Code(code) if code.base() == Some(TpmRcBase::Handle)) {
        return failure;
    }
    let command = Command::new(TpmCc::NvReadPublic).handle(Entity::permanent(place.index));
    match tpm.call_plain(&command) {
        Err(Failure::Code(code)) if code.base() == Some(TpmRcBase::Handle) => failed(
            "the counter is not in the TPM any more: the TPM was cleared, or somebody has deleted it (tpm2_nvundefine)",
        )
        .into(),
        // It is there; something else was not.
        _ => failure,
    }
}

/// A `TPMT_NV_PUBLIC`.
fn public_area(out: &mut Writer, index: u32, attributes: TpmaNv) {
    out.u32(index)
        .u16(TpmAlgId::Sha256.value())
        .u32(attributes.bits())
        .sized(&[]) // no policy
        .u16(VALUE_LEN);
}

/// Counted and read with the authorization value only, which nobody guesses; its owner may look.
fn attributes() -> TpmaNv {
    TpmaNv::COUNTER | TpmaNv::AUTHWRITE | TpmaNv::AUTHREAD | TpmaNv::OWNERREAD | TpmaNv::NO_DA
}

fn too_far(value: u64, to: u64) -> Error {
    Error::new(
        ErrorKind::LimitExceeded,
        format!("the counter stands at {value}, and {to} is too far to count to"),
    )
}

fn not_written(path: &Path, source: io::Error) -> Error {
    Error::new(
        ErrorKind::StoreFailed,
        format!("{} cannot be written", path.display()),
    )
    .with_source(source)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const MAGIC: &str = "hsm tpm counter v1";
const FILE_LEN_MAX: usize = 512;
const VALUE_LEN: u16 = 8;
const ATTEMPTS: usize = 8;

/// The indexes that an owner may use (Registry of Reserved TPM 2.0 Handles and Localities, section 2.2.2).
const INDEX_FIRST: u32 = 0x0180_0000;
const INDEX_MASK: u32 = 0x003f_ffff;

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    /// The lock is one for the process: who gave up waiting for it must not take it from the next.
    #[test]
    fn a_wait_that_was_given_up_takes_no_lock_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("counter");
        let ours = Arc::new(async_lock::Mutex::new(File::create(&path).unwrap()));
        let other_process = File::open(&path).unwrap();
        other_process.lock().unwrap();

        let wait = || async { Locked::wait(ours.lock_arc().await).await };
        let mut given_up = Box::pin(wait());
        let mut context = Context::from_waker(Waker::noop());
        assert!(given_up.as_mut().poll(&mut context).is_pending());
        drop(given_up);
        assert!(ours.try_lock().is_none(), "it waits still, in its turn");

        other_process.unlock().unwrap();
        let next = futures_executor::block_on(wait()).unwrap();
        assert!(matches!(
            other_process.try_lock(),
            Err(TryLockError::WouldBlock)
        ));
        drop(next);
        other_process.try_lock().unwrap();
    }

    #[test]
    fn files_are_read_as_they_are_written_and_every_damage_is_found() {
        let place = Place {
            root: "00".repeat(34).parse().unwrap(),
            index: 0x0180_1234,
            auth: Zeroizing::new([7; DIGEST_LEN]),
        };
        let text = place.to_text();
        assert!(text.len() < FILE_LEN_MAX);
        assert_eq!(text.lines().count(), 5);
        let read = Place::from_text(text.as_bytes()).unwrap();
        assert_eq!(read.to_text(), text);
        for at in 0..text.len() {
            assert!(Place::from_text(&text.as_bytes()[..at]).is_none(), "{at}");
            for flip in [1, 0x20, 0x80] {
                let mut damaged = text.as_bytes().to_vec();
                damaged[at] ^= flip;
                assert!(Place::from_text(&damaged).is_none(), "{at} {flip}");
            }
        }
    }
}
