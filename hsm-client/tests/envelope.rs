//! Promise: encrypted data comes back as it was, or is refused; it survives rotations; and no plaintext comes out before it
//! is authenticated.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs::{self, File};
use std::io::{self, BufRead, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use hsm_client::blocking::{Envelope, Hsm, Key, Session};
use hsm_client::envelope::{CacheLimits, HEADER_LEN_MAX, Header, SEGMENT_LEN, SEGMENT_LEN_MAX};
use hsm_client::kinds::{
    Aes128Kw, Aes128Kwp, Aes192Kwp, Aes256Kw, Aes256Kwp, RsaOaep2048, RsaOaep3072, Wrapping,
};
use hsm_client::lifecycle::Event;
use hsm_client::{
    AttributesUpdate, BuiltInRole, Credentials, Error, ErrorKind, Principal, Scope, Setup,
};
use hsm_core::audit::RequestId;
use hsm_core::{Request, Response};
use hsm_testkit::ManualClock;
use proptest::prelude::*;
use tokio::task::yield_now;

const PASSWORD: &str = "correct horse battery staple";
const CONTEXT: &[u8] = b"customers/17/card";
const SHORT: usize = 64;
const TAG: usize = 16;

// Values.

#[test]
fn what_is_sealed_opens_in_its_own_context_only() {
    let world = World::new();
    let envelope = world.envelope();
    for len in [0, 1, 16, 1000, SEGMENT_LEN, 3 * SEGMENT_LEN + 5] {
        let plaintext = pattern(len);
        let sealed = envelope.seal(&plaintext, CONTEXT).unwrap();
        assert_eq!(envelope.open(&sealed, CONTEXT).unwrap().expose(), plaintext);
        for other in [&b""[..], b"customers/18/card", b"customers/17/card "] {
            let error = envelope.open(&sealed, other).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
            assert!(error.message().contains("context"), "{error}");
        }
    }
}

#[test]
fn rows_under_one_data_key_cannot_be_mixed() {
    let world = World::new();
    let envelope = world.envelope().with_segment_len(SHORT).unwrap();
    let (one, two) = (pattern(SHORT * 2), pattern(SHORT * 2));
    let one = envelope.seal(&one, CONTEXT).unwrap();
    let two = envelope.seal(&two, CONTEXT).unwrap();
    let (one_header, one_rest) = Header::split(&one).unwrap();
    let (two_header, two_rest) = Header::split(&two).unwrap();
    assert_eq!(one_header.wrapped(), two_header.wrapped());
    for (header, rest) in [(&one_header, two_rest), (&two_header, one_rest)] {
        world.refuses(&[&header.to_bytes()[..], rest].concat());
    }
    let (first, _) = one_rest.split_at(SHORT + TAG);
    let (_, second) = two_rest.split_at(SHORT + TAG);
    world.refuses(&[&one_header.to_bytes()[..], first, second].concat());
}

#[test]
fn every_key_that_wraps_will_do() {
    fn check<W: Wrapping>(world: &World, name: &str) {
        let kek = world.session.create::<W>(name).make().unwrap();
        let envelope = Envelope::new(&world.session, &kek).with_cache(CacheLimits::none());
        let sealed = envelope.seal(b"plaintext", CONTEXT).unwrap();
        let (header, _) = Header::split(&sealed).unwrap();
        assert_eq!(header.wrapping(), W::ALGORITHM);
        assert!(header.to_bytes().len() <= HEADER_LEN_MAX);
        assert_eq!(
            envelope.open(&sealed, CONTEXT).unwrap().expose(),
            b"plaintext"
        );
        kek.rotate().unwrap();
        let sealed = envelope.rewrap(&sealed).unwrap();
        assert_eq!(
            envelope.open(&sealed, CONTEXT).unwrap().expose(),
            b"plaintext"
        );
    }
    let world = World::new();
    check::<Aes128Kw>(&world, "aes-128-kw");
    check::<Aes256Kw>(&world, "aes-256-kw");
    check::<Aes128Kwp>(&world, "aes-128-kwp");
    check::<Aes192Kwp>(&world, "aes-192-kwp");
    check::<Aes256Kwp>(&world, &"k".repeat(127));
    check::<RsaOaep2048>(&world, "rsa-2048");
}

// Refusals.

#[test]
fn every_bit_counts() {
    let world = World::new();
    let sealed = world.short(SHORT + 20);
    let mut altered = sealed.clone();
    for at in 0..sealed.len() {
        for bit in 0..8 {
            altered[at] ^= 1 << bit;
            world.refuses(&altered);
            altered[at] = sealed[at];
        }
    }
    world.accepts(&sealed);
}

#[test]
fn what_is_cut_off_is_refused_wherever() {
    let world = World::new();
    for len in [0, SHORT, 3 * SHORT, 3 * SHORT + 7] {
        let sealed = world.short(len);
        for end in 0..sealed.len() {
            world.refuses(&sealed[..end]);
        }
    }
}

#[test]
fn what_is_cut_off_between_segments_says_so() {
    let world = World::new();
    let sealed = world.short(3 * SHORT);
    let error = world.refuses(&sealed[..sealed.len() - SHORT - TAG]);
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!(error.message().contains("cut off"), "{error}");
    let (header, _) = Header::split(&sealed).unwrap();
    let error = world.refuses(&header.to_bytes()[..100]);
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.message().contains("cut off"), "{error}");
}

#[test]
fn what_is_extended_or_reordered_is_refused() {
    let world = World::new();
    let sealed = world.short(4 * SHORT);
    let (header, rest) = Header::split(&sealed).unwrap();
    let header = header.to_bytes();
    let segments: Vec<_> = rest.chunks(SHORT + TAG).collect();
    assert_eq!(segments.len(), 4);
    let order = |order: &[usize]| {
        let chosen = order.iter().map(|at| segments[*at]);
        [&header[..]]
            .into_iter()
            .chain(chosen)
            .collect::<Vec<_>>()
            .concat()
    };
    world.accepts(&order(&[0, 1, 2, 3]));
    for wrong in [
        &[1, 0, 2, 3][..],
        &[0, 2, 1, 3],
        &[0, 1, 3, 2],
        &[0, 0, 1, 2, 3],
        &[0, 1, 2, 3, 3],
        &[0, 1, 2, 3, 0],
        &[0, 1, 2, 2],
        &[1, 2, 3],
        &[0, 2, 3],
        &[3],
        &[],
    ] {
        world.refuses(&order(wrong));
    }
    for extra in [&b"\0"[..], b"more", &[0; SHORT + TAG], &sealed] {
        let error = world.refuses(&[&sealed, extra].concat());
        assert_eq!(error.kind(), ErrorKind::Damaged);
    }
    let error = world.refuses(&[&sealed[..], b"\0"].concat());
    assert!(error.message().contains("behind the end"), "{error}");
}

/// Nothing is allocated for what a header only claims: the refusal comes before the data key is asked for.
#[test]
fn absurd_headers_are_refused() {
    let world = World::new();
    let sealed = world.short(10);
    let with = |at: usize, bytes: &[u8]| {
        let mut altered = sealed.clone();
        altered[at..at + bytes.len()].copy_from_slice(bytes);
        Header::split(&altered).unwrap_err()
    };
    for code in (0..=5).chain(25..=255) {
        let error = with(10, &[code]);
        assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}");
        assert!(error.message().contains("segments"), "{error}");
    }
    assert_eq!(with(8, &[2]).kind(), ErrorKind::Unsupported);
    assert_eq!(with(9, &[2]).kind(), ErrorKind::Unsupported);
    assert_eq!(with(11, &[255]).kind(), ErrorKind::InvalidInput);
    assert_eq!(with(44, &[0]).kind(), ErrorKind::InvalidInput);
    assert_eq!(with(44, &[255]).kind(), ErrorKind::InvalidInput);
    assert_eq!(with(45, b"/").kind(), ErrorKind::InvalidInput);
    assert_eq!(with(45, &[0xff]).kind(), ErrorKind::InvalidInput);
    let len_at = 45 + usize::from(sealed[44]);
    assert_eq!(with(len_at, &[0xff, 0xff]).kind(), ErrorKind::LimitExceeded);
    let error = with(0, b"HSM");
    assert!(error.message().contains("no encrypted data"), "{error}");
    for endless in [0, b'h', 0xff] {
        Header::read_from(&mut io::repeat(endless)).unwrap_err();
    }
}

#[test]
fn another_key_does_not_open_it() {
    let world = World::new();
    let sealed = world.short(10);
    let other = world.session.create::<Aes256Kwp>("other").make().unwrap();
    let error = Envelope::new(&world.session, &other)
        .open(&sealed, CONTEXT)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(
        error.message().contains("`kek`") && error.message().contains("`other`"),
        "{error}"
    );

    // Of the same name, in another HSM.
    let stranger = World::new();
    let error = stranger.envelope().open(&sealed, CONTEXT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

/// Who may wrap puts a data key of their own into a header: it is not the one that the header was made with.
#[test]
fn a_data_key_that_was_swapped_is_found_out() {
    let world = World::new();
    let (sealed, other) = (world.short(10), world.short(10));
    let (_, rest) = Header::split(&sealed).unwrap();
    let wrapped = |sealed: &[u8]| Header::split(sealed).unwrap().0.wrapped().bytes().to_vec();
    let (old, new) = (wrapped(&sealed), wrapped(&other));
    assert_ne!(old, new);
    let mut swapped = sealed.clone();
    let at = sealed
        .windows(old.len())
        .position(|bytes| bytes == old)
        .unwrap();
    swapped[at..at + new.len()].copy_from_slice(&new);
    let error = world.refuses(&swapped);
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!(
        error.message().contains("data key of other data"),
        "{error}"
    );

    let short = world.kek.wrap(&[7; 16]).unwrap();
    assert_ne!(short.bytes().len(), old.len());
    let header = &sealed[..sealed.len() - rest.len()];
    let mut shorter = header[..at - 2].to_vec();
    shorter.extend_from_slice(&u16::try_from(short.bytes().len()).unwrap().to_be_bytes());
    shorter.extend_from_slice(short.bytes());
    shorter.extend_from_slice(&header[header.len() - 32..]);
    let error = world.refuses(&[&shorter, rest].concat());
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!(error.message().contains("length"), "{error}");
}

#[test]
fn who_may_not_use_the_key_gets_nothing() {
    let world = World::new();
    let sealed = world.short(10);
    world.admin.create_user("nobody", PASSWORD).unwrap();
    let nobody = world.hsm.login("nobody", PASSWORD).unwrap();
    assert_eq!(
        nobody.key::<Aes256Kwp>("kek").unwrap_err().kind(),
        ErrorKind::Denied
    );

    let envelope = world.envelope();
    world
        .kek
        .update(AttributesUpdate::new().event(Event::Suspend))
        .unwrap();
    assert_eq!(
        envelope.seal(b"", b"").unwrap_err().kind(),
        ErrorKind::KeyState
    );
    assert_eq!(
        envelope.open(&sealed, CONTEXT).unwrap_err().kind(),
        ErrorKind::KeyState
    );
    let error = envelope.encrypt_to(Vec::new(), b"").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyState);
}

#[test]
fn a_context_has_a_limit_and_segments_have_two() {
    let world = World::new();
    let envelope = world.envelope();
    let context = vec![0; 65 << 10];
    for error in [
        envelope.seal(b"", &context).unwrap_err(),
        envelope.open(b"", &context).unwrap_err(),
        envelope.encrypt_to(Vec::new(), &context).unwrap_err(),
        envelope.decrypt_from(io::empty(), &context).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    }
    for len in [
        0,
        1,
        32,
        63,
        65,
        1000,
        SEGMENT_LEN_MAX + 1,
        2 * SEGMENT_LEN_MAX,
        usize::MAX,
    ] {
        let error = world.envelope().with_segment_len(len).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}

// Streams.

#[test]
fn a_file_comes_back_and_only_when_it_is_whole() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let plaintext = pattern(1_000_000);
    fs::write(path("plain"), &plaintext).unwrap();

    let envelope = world.envelope();
    let output = File::create(path("sealed")).unwrap();
    let mut encryptor = envelope.encrypt_to(output, CONTEXT).unwrap();
    let len = encryptor
        .copy_from(&mut File::open(path("plain")).unwrap())
        .unwrap();
    assert_eq!(len, 1_000_000);
    encryptor.finish().unwrap();

    let open = |name: &str| envelope.decrypt_from(File::open(path(name)).unwrap(), CONTEXT);
    assert_eq!(
        open("sealed").unwrap().into_file(path("opened")).unwrap(),
        1_000_000
    );
    assert!(fs::read(path("opened")).unwrap() == plaintext);

    let sealed = fs::read(path("sealed")).unwrap();
    fs::write(path("cut"), &sealed[..sealed.len() - 1]).unwrap();
    let error = open("cut").unwrap().into_file(path("opened")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    let error = open("cut").unwrap().into_file(path("new")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!(fs::read(path("opened")).unwrap() == plaintext);
    let mut names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["cut", "opened", "plain", "sealed"]);
    assert!(world.envelope().open(&sealed, CONTEXT).unwrap().expose() == plaintext);
}

#[test]
fn nothing_comes_out_of_a_segment_that_was_altered_nor_after_it() {
    let world = World::new();
    let plaintext = pattern(5 * SHORT);
    let mut sealed = world.short(5 * SHORT);
    let start = sealed.len() - 5 * (SHORT + TAG);
    sealed[start + 2 * (SHORT + TAG) + 9] ^= 1;
    let mut decryptor = world.envelope().decrypt_from(&sealed[..], CONTEXT).unwrap();
    let mut out = Vec::new();
    let error = decryptor.read_to_end(&mut out).unwrap_err();
    assert_eq!(out, plaintext[..2 * SHORT]);
    let source = error.get_ref().unwrap().downcast_ref::<Error>().unwrap();
    assert_eq!(source.kind(), ErrorKind::Damaged);
    assert!(source.message().contains("segment 2"), "{source}");

    for _ in 0..3 {
        decryptor.read(&mut [0; 9]).unwrap_err();
        decryptor.fill_buf().unwrap_err();
        decryptor.copy_to(&mut io::sink()).unwrap_err();
    }
    decryptor.into_file("never-written").unwrap_err();
    assert!(!fs::exists("never-written").unwrap());
}

#[test]
fn what_was_not_finished_has_no_end() {
    let world = World::new();
    let envelope = world.envelope().with_segment_len(SHORT).unwrap();
    for len in [0, 10, SHORT, 3 * SHORT] {
        let mut sealed = Vec::new();
        let mut encryptor = envelope.encrypt_to(&mut sealed, CONTEXT).unwrap();
        encryptor.write_all(&pattern(len)).unwrap();
        encryptor.flush().unwrap();
        drop(encryptor);
        world.refuses(&sealed);
    }
}

#[test]
fn what_could_not_be_written_is_not_continued() {
    /// Has room for some bytes.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            let len = data.len().min(self.0);
            self.0 -= len;
            if len == 0 {
                Err(io::ErrorKind::StorageFull.into())
            } else {
                Ok(len)
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let world = World::new();
    let envelope = world.envelope().with_segment_len(SHORT).unwrap();
    let mut encryptor = envelope.encrypt_to(Full(300), CONTEXT).unwrap();
    let error = encryptor.write_all(&pattern(1000)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(
        encryptor
            .write_all(&pattern(1000))
            .unwrap_err()
            .to_string()
            .contains("before")
    );
    assert!(
        encryptor
            .finish()
            .map(drop)
            .unwrap_err()
            .to_string()
            .contains("before")
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Any length, any length of segments, written and read in any pieces.
    #[test]
    fn any_data_comes_back(
        len in 0..2000_usize,
        segment in 6..11_u32,
        writes in proptest::collection::vec(0..700_usize, 1..9),
        reads in proptest::collection::vec(1..700_usize, 1..9),
    ) {
        let world = SHARED.with(Clone::clone);
        let envelope = world.envelope().with_segment_len(1 << segment).unwrap();
        let plaintext = pattern(len);

        let mut encryptor = envelope.encrypt_to(Vec::new(), CONTEXT).unwrap();
        let (mut rest, mut turn) = (&plaintext[..], writes.iter().cycle());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(1 + *turn.next().unwrap()));
            if piece.len() % 2 == 0 {
                encryptor.write_all(piece).unwrap();
            } else {
                encryptor.copy_from(&mut &piece[..]).unwrap();
            }
            rest = after;
        }
        let sealed = encryptor.finish().unwrap();
        let (header, segments) = Header::split(&sealed).unwrap();
        let tags = len.div_ceil(header.segment_len()).max(1) * TAG;
        prop_assert_eq!(segments.len(), len + tags);

        let input = Pieces { rest: &sealed, lens: reads.clone(), turn: 0 };
        let mut decryptor = envelope.decrypt_from(input, CONTEXT).unwrap();
        let mut opened = Vec::new();
        for len in reads.iter().cycle() {
            let mut out = vec![0; *len];
            match decryptor.read(&mut out).unwrap() {
                0 => break,
                read => opened.extend_from_slice(&out[..read]),
            }
        }
        prop_assert_eq!(&opened, &plaintext);
        prop_assert_eq!(decryptor.read(&mut [0; 1]).unwrap(), 0);
        let whole = envelope.open(&sealed, CONTEXT).unwrap();
        prop_assert_eq!(whole.expose(), &plaintext[..]);
        let same = envelope.seal(&plaintext, CONTEXT).unwrap();
        prop_assert_eq!(same.len(), sealed.len());
    }
}

// Rotation.

#[test]
fn rotation_leaves_the_data_and_needs_the_old_version_no_more() {
    let world = World::new();
    let sealed = world.short(3 * SHORT + 5);
    let old = Header::split(&sealed).unwrap().0.key_version();
    let new = world.kek.rotate().unwrap();
    let envelope = world.envelope();
    envelope.open(&sealed, CONTEXT).unwrap();
    let rewrapped = envelope.rewrap(&sealed).unwrap();
    let ((old_header, old_rest), (header, rest)) = (
        Header::split(&sealed).unwrap(),
        Header::split(&rewrapped).unwrap(),
    );
    assert_eq!(old_rest, rest);
    assert_eq!(header.key_version(), new);
    assert_eq!(sealed.len(), rewrapped.len());
    assert_ne!(old_header.wrapped(), header.wrapped());

    world
        .kek
        .at(old)
        .update(AttributesUpdate::new().event(Event::Suspend))
        .unwrap();
    let envelope = world.envelope();
    assert_eq!(
        envelope.open(&sealed, CONTEXT).unwrap_err().kind(),
        ErrorKind::KeyState
    );
    let opened = envelope.open(&rewrapped, CONTEXT).unwrap();
    assert_eq!(opened.expose(), pattern(3 * SHORT + 5));

    let mut altered = sealed.clone();
    altered[20] ^= 1;
    envelope.rewrap(&altered).unwrap_err();
}

#[test]
fn a_file_gets_a_new_header_in_place() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sealed");
    let saved = folder.path().join("sealed.old-header");
    let sealed = world.short(1000);
    fs::write(&path, &sealed).unwrap();
    let new = world.kek.rotate().unwrap();
    world.envelope().rewrap_file(&path).unwrap();
    let rewrapped = fs::read(&path).unwrap();
    let (old_header, old_rest) = Header::split(&sealed).unwrap();
    let (header, rest) = Header::split(&rewrapped).unwrap();
    assert_eq!(header.key_version(), new);
    assert_eq!(old_rest, rest);
    assert!(!saved.exists());
    world.accepts(&rewrapped);

    // Interrupted at every byte of the header.
    let (old, new) = (old_header.to_bytes(), header.to_bytes());
    for done in 0..=new.len() {
        fs::write(&saved, &old).unwrap();
        fs::write(&path, [&new[..done], &old[done..], rest].concat()).unwrap();
        world.envelope().rewrap_file(&path).unwrap();
        assert!(fs::read(&path).unwrap() == rewrapped, "{done}");
        assert!(!saved.exists());
    }
    // Interrupted while the old header was saved, or left behind by another file.
    let other = world.short(77);
    for left in [
        &old[..40],
        b"",
        &Header::split(&other).unwrap().0.to_bytes(),
    ] {
        fs::write(&saved, left).unwrap();
        fs::write(&path, &sealed).unwrap();
        world.envelope().rewrap_file(&path).unwrap();
        assert!(fs::read(&path).unwrap() == rewrapped);
        assert!(!saved.exists());
    }
    let error = world
        .envelope()
        .rewrap_file(folder.path().join("none"))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreFailed);
}

#[test]
fn a_file_moves_to_a_key_of_another_kind() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sealed");
    fs::write(&path, world.short(1000)).unwrap();
    let rsa = world
        .session
        .create::<RsaOaep3072>("archive")
        .make()
        .unwrap();
    let archive = Envelope::new(&world.session, &rsa);
    archive.adopt_file(&world.envelope(), &path).unwrap();
    let sealed = fs::read(&path).unwrap();
    assert_eq!(
        archive.open(&sealed, CONTEXT).unwrap().expose(),
        pattern(1000)
    );
    assert_eq!(
        Header::split(&sealed).unwrap().0.key_name().as_str(),
        "archive"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    let error = world.refuses(&sealed);
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

// Data keys in memory.

#[test]
fn a_data_key_is_for_so_many_values_and_for_so_long() {
    let world = World::new();
    let clock = Arc::<ManualClock>::default();
    let limits = CacheLimits::new().uses(10).age(Duration::from_secs(60));
    let envelope = world
        .envelope()
        .with_cache(limits)
        .with_clock(clock.clone());
    let seal = |count: usize| {
        let sealed = (0..count).map(|_| envelope.seal(b"row", CONTEXT).unwrap());
        let wrapped = sealed.map(|row| Header::split(&row).unwrap().0.wrapped().clone());
        wrapped.collect::<Vec<_>>()
    };
    let rows = seal(25);
    let distinct = |rows: &[_]| rows.iter().collect::<std::collections::HashSet<_>>().len();
    assert_eq!(distinct(&rows), 3);
    assert_eq!(distinct(&rows[..10]), 1);
    assert_eq!(distinct(&rows[10..20]), 1);

    // At the age it is gone, a moment before it is not.
    let young = seal(1);
    assert_eq!(young[0], rows[24]);
    clock.advance(Duration::from_secs(59));
    assert_eq!(seal(1), young);
    clock.advance(Duration::from_secs(1));
    let next = seal(1);
    assert_ne!(next, young);
    envelope.forget();
    assert_ne!(seal(1), next);
    assert_eq!(
        distinct(&{
            let none = world.envelope().with_cache(CacheLimits::none());
            let rows = (0..5).map(|_| none.seal(b"row", CONTEXT).unwrap());
            let wrapped = rows.map(|row| Header::split(&row).unwrap().0.wrapped().clone());
            wrapped.collect::<Vec<_>>()
        }),
        5
    );
}

#[test]
fn a_key_that_was_disabled_goes_on_for_the_age_at_most() {
    let world = World::new();
    let clock = Arc::<ManualClock>::default();
    let limits = CacheLimits::new().keys(2).age(Duration::from_secs(60));
    let envelope = world
        .envelope()
        .with_cache(limits)
        .with_clock(clock.clone());
    let rows = [world.short(1), world.short(2), world.short(3)];
    for row in &rows {
        envelope.open(row, CONTEXT).unwrap();
    }
    world
        .kek
        .update(AttributesUpdate::new().event(Event::Suspend))
        .unwrap();
    // Two were kept, the first is gone.
    envelope.open(&rows[2], CONTEXT).unwrap();
    envelope.open(&rows[1], CONTEXT).unwrap();
    assert_eq!(
        envelope.open(&rows[0], CONTEXT).unwrap_err().kind(),
        ErrorKind::KeyState
    );
    clock.advance(Duration::from_secs(60));
    for row in &rows {
        assert_eq!(
            envelope.open(row, CONTEXT).unwrap_err().kind(),
            ErrorKind::KeyState
        );
    }
}

// At the same moment.

/// An HSM whose answers about data keys take a while, in which others go on.
#[derive(Debug)]
struct Slow {
    hsm: hsm_client::Hsm,
    asked: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct SlowSession {
    session: hsm_client::Session,
    asked: Arc<AtomicUsize>,
}

#[async_trait]
impl hsm_core::Service for Slow {
    async fn login(&self, credentials: Credentials) -> Result<Arc<dyn hsm_core::Session>, Error> {
        let session = self.hsm.login_with(credentials).await?;
        let asked = self.asked.clone();
        Ok(Arc::new(SlowSession { session, asked }))
    }
}

#[async_trait]
impl hsm_core::Session for SlowSession {
    fn principal(&self) -> &Principal {
        self.session.principal()
    }

    async fn call(&self, id: RequestId, request: Request<'_>) -> Result<Response, Error> {
        let slow = matches!(request, Request::Wrap { .. });
        let answer = self.session.call_as(id, request).await;
        if slow {
            self.asked.fetch_add(1, Ordering::SeqCst);
            yield_now().await;
        }
        answer
    }

    async fn logout(&self) {
        self.session.logout().await;
    }
}

/// An envelope over a slow HSM, and how often it was asked to wrap.
async fn slow() -> (hsm_client::envelope::Envelope<Aes256Kwp>, Arc<AtomicUsize>) {
    let hsm = hsm_client::Hsm::create("memory:", Setup::new("admin", PASSWORD));
    let hsm = hsm.await.unwrap();
    let admin = hsm.login("admin", PASSWORD).await.unwrap();
    admin.create_user("app", PASSWORD).await.unwrap();
    let role = BuiltInRole::CryptoUser;
    admin.assign_role(role, "app", Scope::Keys).await.unwrap();
    let asked = Arc::<AtomicUsize>::default();
    let slow = Slow {
        hsm,
        asked: asked.clone(),
    };
    let hsm = hsm_client::Hsm::over(Arc::new(slow)).unwrap();
    let session = hsm.login("app", PASSWORD).await.unwrap();
    let kek = session.create::<Aes256Kwp>("kek").await.unwrap();
    (hsm_client::envelope::Envelope::new(&session, &kek), asked)
}

fn wrapped(sealed: &[u8]) -> Vec<u8> {
    let (header, _) = Header::split(sealed).unwrap();
    header.wrapped().bytes().to_vec()
}

#[tokio::test]
async fn values_that_are_sealed_at_the_same_moment_share_a_data_key() {
    let (envelope, asked) = slow().await;
    let mut sealing = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let envelope = envelope.clone();
        sealing.spawn(async move { envelope.seal(b"row", CONTEXT).await.unwrap() });
    }
    let sealed = sealing.join_all().await;
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert!(sealed.iter().all(|row| wrapped(row) == wrapped(&sealed[0])));
    for row in &sealed {
        let opened = envelope.open(row, CONTEXT).await.unwrap();
        assert_eq!(opened.expose(), b"row");
    }
}

#[tokio::test]
async fn a_data_key_that_was_under_way_when_all_were_forgotten_is_not_kept() {
    let (envelope, asked) = slow().await;
    let sealing = tokio::spawn({
        let envelope = envelope.clone();
        async move { envelope.seal(b"row", CONTEXT).await.unwrap() }
    });
    while asked.load(Ordering::SeqCst) == 0 {
        yield_now().await;
    }
    envelope.forget();
    let before = sealing.await.unwrap();
    let after = envelope.seal(b"row", CONTEXT).await.unwrap();
    assert_ne!(wrapped(&before), wrapped(&after));
}

/// Somebody writes another file to the place while the HSM is asked: a header over its beginning would be the end of it.
#[tokio::test]
async fn a_file_that_became_another_meanwhile_is_left_alone() {
    let (envelope, asked) = slow().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sealed");
    fs::write(&path, envelope.seal(&pattern(100), CONTEXT).await.unwrap()).unwrap();
    let before = asked.load(Ordering::SeqCst);
    let rewrapping = tokio::spawn({
        let (envelope, path) = (envelope.clone(), path.clone());
        async move { envelope.rewrap_file(path).await }
    });
    while asked.load(Ordering::SeqCst) == before {
        yield_now().await;
    }
    let other = envelope.seal(&pattern(200), CONTEXT).await.unwrap();
    fs::write(&path, &other).unwrap();
    let error = rewrapping.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert!(fs::read(&path).unwrap() == other);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// Whoever can put a file there does not decide how much memory is taken for it.
#[test]
fn an_old_header_that_is_absurdly_long_is_none() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sealed");
    let saved = folder.path().join("sealed.old-header");
    fs::write(&path, world.short(100)).unwrap();
    File::create(&saved).unwrap().set_len(1 << 42).unwrap();
    world.envelope().rewrap_file(&path).unwrap();
    assert!(!saved.exists());
}

/// An HSM in memory, with a key that wraps.
#[derive(Clone)]
struct World {
    hsm: Hsm,
    admin: Session,
    session: Session,
    kek: Key<Aes256Kwp>,
}

thread_local! {
    static SHARED: World = World::new();
}

impl World {
    fn new() -> Self {
        let hsm = Hsm::create("memory:", Setup::new("admin", PASSWORD)).unwrap();
        let admin = hsm.login("admin", PASSWORD).unwrap();
        admin.create_user("app", PASSWORD).unwrap();
        admin
            .assign_role(BuiltInRole::CryptoUser, "app", Scope::Keys)
            .unwrap();
        let session = hsm.login("app", PASSWORD).unwrap();
        let kek = session.create::<Aes256Kwp>("kek").make().unwrap();
        Self {
            hsm,
            admin,
            session,
            kek,
        }
    }

    /// With nothing in memory yet.
    fn envelope(&self) -> Envelope<Aes256Kwp> {
        Envelope::new(&self.session, &self.kek)
    }

    /// Encrypted data of short segments, under a data key of its own.
    fn short(&self, len: usize) -> Vec<u8> {
        let envelope = self.envelope().with_segment_len(SHORT).unwrap();
        envelope.seal(&pattern(len), CONTEXT).unwrap()
    }

    fn accepts(&self, sealed: &[u8]) {
        self.envelope().open(sealed, CONTEXT).unwrap();
    }

    #[track_caller]
    fn refuses(&self, sealed: &[u8]) -> Error {
        let error = self.envelope().open(sealed, CONTEXT).unwrap_err();
        assert!(
            matches!(
                error.kind(),
                ErrorKind::CryptoFailed
                    | ErrorKind::Damaged
                    | ErrorKind::InvalidInput
                    | ErrorKind::LimitExceeded
                    | ErrorKind::NotFound
                    | ErrorKind::Unsupported
            ),
            "{error}"
        );
        error
    }
}

/// Gives its bytes in pieces.
struct Pieces<'a> {
    rest: &'a [u8],
    lens: Vec<usize>,
    turn: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.turn += 1;
        if self.turn.is_multiple_of(5) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let len = self.lens[self.turn % self.lens.len()].min(out.len());
        self.rest.read(&mut out[..len])
    }
}

fn pattern(len: usize) -> Vec<u8> {
    let bytes = (0_u32..).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[0]);
    bytes.take(len).collect()
}
