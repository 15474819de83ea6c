//! Promise: a store that is broken, foreign, newer or read-only says so, panics never, and gives what can still be read.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use futures_executor::block_on;
use hsm_core::{ErrorKind, Result, Space, Store};
use hsm_store::EmbeddedStore;
use hsm_testkit::process::{self, Child};
use rusqlite::Connection;

const RECORDS: u32 = 300;

#[test]
fn a_file_that_is_no_store_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    for bytes in [
        &b""[..],
        b"SQLite format 3\0",
        &[0; 5000],
        &b"not a database at all ".repeat(500),
    ] {
        fs::write(&path, bytes).unwrap();
        let error = EmbeddedStore::open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
        assert!(error.message().contains("store.db"), "{error}");
    }
}

#[test]
fn another_programs_database_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("theirs.db");
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE theirs (x)")
        .unwrap();
    let before = fs::read(&path).unwrap();
    let error = EmbeddedStore::open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_newer_format_is_named_and_not_touched() {
    let (_folder, path) = full_store();
    Connection::open(&path)
        .unwrap()
        .execute_batch("PRAGMA user_version = 9")
        .unwrap();
    let error = EmbeddedStore::open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("format 9"), "{error}");
    assert!(error.message().contains("formats up to 1"), "{error}");
}

#[test]
fn a_truncated_store_is_damaged() {
    let (_folder, path) = full_store();
    let whole = fs::read(&path).unwrap();
    for len in (0..whole.len()).step_by(1024) {
        write_database(&path, &whole[..len]);
        let error = read_all(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{len}: {error}");
        assert!(error.message().contains("store.db"), "{error}");
    }
}

#[test]
fn a_broken_page_costs_its_records_and_no_others() {
    let (_folder, path) = full_store();
    let mut bytes = fs::read(&path).unwrap();
    let page = leaf_page_with(&bytes, b"key 0150");
    bytes[page * 4096] ^= 0xff;
    write_database(&path, &bytes);

    let found = read_all(&path).unwrap();
    assert_damaged_or_right(&found);
    let broken = found.iter().filter(|record| record.is_err()).count();
    assert!((1..RECORDS as usize / 2).contains(&broken), "{broken}");
    let error = found[150].as_ref().unwrap_err();
    assert!(
        error
            .message()
            .contains("record `key 0150` of space `keys`"),
        "{error}"
    );

    // Writing goes on as well.
    let store = EmbeddedStore::open(&path).unwrap();
    block_on(store.transact(Box::new(|records| records.put(Space::Users, b"ada", b"1")))).unwrap();
    let failed = block_on(store.transact(Box::new(|records| {
        records.put(Space::Users, b"bob", b"1")?;
        records.put(Space::Keys, b"key 0150", b"mended")
    })));
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Damaged);
    block_on(store.view(Box::new(|records| {
        assert_eq!(records.count(Space::Users, b"", 9)?, 1);
        let error = records.scan(Space::Keys, b"", None, 1000).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
        assert!(error.message().contains("after `key "), "{error}");
        Ok(())
    })))
    .unwrap();
}

#[test]
fn bit_flips_are_refused_or_survived() {
    let (_folder, path) = full_store();
    let whole = fs::read(&path).unwrap();
    let (mut refused, mut found_broken) = (0, 0);
    // All of the header and the schema's beginning, then here and there.
    let bits = (0..200 * 8)
        .step_by(3)
        .chain((200 * 8..whole.len() * 8).step_by(2777));
    for bit in bits {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        write_database(&path, &bytes);
        match read_all(&path) {
            Ok(records) => {
                for record in records {
                    if let Err(error) = record {
                        assert_eq!(error.kind(), ErrorKind::Damaged, "bit {bit}: {error}");
                        found_broken += 1;
                    }
                }
            }
            Err(error) => {
                let kinds = [
                    ErrorKind::Damaged,
                    ErrorKind::StoreFailed,
                    ErrorKind::Unsupported,
                ];
                assert!(kinds.contains(&error.kind()), "bit {bit}: {error}");
                refused += 1;
            }
        }
    }
    assert!(
        refused > 10 && found_broken > 10,
        "{refused} {found_broken}"
    );
}

#[test]
fn a_read_only_store_is_refused_with_the_reason() {
    let (folder, path) = full_store();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    let reply = open_without_privileges(folder.path(), 0o777, &path);
    assert!(reply.is_none_or(|reply| reply.contains("is read-only")));

    // The file may be written, but not its folder, where the log would go.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let reply = open_without_privileges(folder.path(), 0o555, &path);
    assert!(
        reply.is_none_or(|reply| reply.starts_with("StoreFailed") && reply.contains("store.db"))
    );
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    read_all(&path).unwrap();
}

/// Opens the store in a process that permissions apply to; `None`, said aloud, if there can be none.
fn open_without_privileges(folder: &Path, mode: u32, path: &Path) -> Option<String> {
    fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
    let privileged = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let nobody = 65534;
    let mut child = Child::start_with("open_once", &[path.to_str().unwrap()], |command| {
        if privileged {
            command.uid(nobody).gid(nobody)
        } else {
            command
        }
    });
    let reply = child.report();
    if reply.is_none() {
        println!("skipped: user {nobody} cannot run this test");
    }
    reply
}

#[test]
#[ignore = "a role"]
fn open_once() {
    let Some(arguments) = process::arguments() else {
        return;
    };
    match EmbeddedStore::open(&arguments[0]) {
        Ok(_) => process::report("opened"),
        Err(error) => process::report(format!("{:?} {error}", error.kind())),
    }
}

fn full_store() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = EmbeddedStore::create(&path).unwrap();
    block_on(store.transact(Box::new(|records| {
        (0..RECORDS)
            .try_for_each(|number| records.put(Space::Keys, key(number).as_bytes(), &value(number)))
    })))
    .unwrap();
    (folder, path)
}

fn key(number: u32) -> String {
    format!("key {number:04}")
}

fn value(number: u32) -> Vec<u8> {
    number.to_be_bytes().repeat(25)
}

/// Puts a database in place of another, as it is after all processes have closed it.
fn write_database(path: &Path, bytes: &[u8]) {
    for suffix in ["-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        let _ = fs::remove_file(name);
    }
    fs::write(path, bytes).unwrap();
}

fn read_all(path: &Path) -> Result<Vec<Result<Option<Vec<u8>>>>> {
    let store = EmbeddedStore::open(path)?;
    store.version()?;
    let mut found = Vec::new();
    block_on(store.view(Box::new(|records| {
        for number in 0..RECORDS {
            found.push(records.read(Space::Keys, key(number).as_bytes()));
        }
        Ok(())
    })))?;
    Ok(found)
}

fn assert_damaged_or_right(found: &[Result<Option<Vec<u8>>>]) {
    for (number, record) in (0..).zip(found) {
        match record {
            Ok(record) => assert_eq!(record.as_ref(), Some(&value(number))),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Damaged, "{error}"),
        }
    }
}

/// Number of the leaf page (from 0) that holds `text`. An index leaf begins with 0x0a.
fn leaf_page_with(bytes: &[u8], text: &[u8]) -> usize {
    bytes
        .chunks(4096)
        .position(|page| page[0] == 0x0a && page.windows(text.len()).any(|window| window == text))
        .unwrap()
}
