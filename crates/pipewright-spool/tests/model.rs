//! What a spool promises, on a model of a file system that crashes at every step.

mod support;

use std::time::Duration;

use pipewright_spool::{
    Error, FileSystem, Next, Options, Reader, Retain, Spool, StoredFile, Sync, Writer,
};
use proptest::prelude::*;
use support::{Chance, Disk, Faults};

/// The byte of the stream at an offset: what a producer writes that starts again at any offset.
fn byte(offset: u64) -> u8 {
    (offset.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8
}

fn bytes(from: u64, to: u64) -> Vec<u8> {
    (from..to).map(byte).collect()
}

fn options(sync: Sync, retain: Retain, limit: Option<u64>) -> Options {
    Options {
        sync,
        retain,
        limit,
        segment: 5000,
        group: 900,
        delay: Duration::from_millis(50),
    }
}

/// What somebody outside knows of a spool.
#[derive(Debug, Default)]
struct Known {
    /// Calls have said that they wrote it.
    written: u64,
    /// Somebody tried to write it.
    tried: u64,
    durable: u64,
    acknowledged: u64,
    /// Likewise, and synced.
    acknowledged_durable: u64,
    /// Somebody tried to end the stream there.
    ended: Option<u64>,
}

/// Reads a piece, and checks its bytes.
fn take<F: FileSystem>(reader: &mut Reader<F>) -> Result<Next<F::File>, Error> {
    let next = reader.next_piece()?;
    if let Next::Bytes(piece) = &next {
        let mut read = vec![0; piece.length as usize];
        assert_eq!(piece.file.read_at(&mut read, piece.at).unwrap(), read.len());
        assert!(
            read == bytes(piece.offset, piece.offset + piece.length),
            "wrong bytes at {}",
            piece.offset
        );
    }
    Ok(next)
}

/// Writes, commits, reads, acknowledges, by chance, until something fails or the stream is long enough.
fn use_it(
    spool: &Spool<Disk>,
    writer: &mut Writer<Disk>,
    chance: &mut Chance,
    known: &mut Known,
    sync: Sync,
    until: u64,
) -> Result<(), Error> {
    let mut reader = spool.reader("one")?;
    assert!(
        reader.offset() >= known.acknowledged || spool.progress().committed < known.acknowledged
    );
    // Opened by a spool that syncs, what others had acknowledged is synced, too.
    let note = |known: &mut Known, offset| {
        known.acknowledged = known.acknowledged.max(offset);
        if sync == Sync::Disk {
            known.acknowledged_durable = known.acknowledged_durable.max(offset);
        }
    };
    note(known, reader.offset());
    while writer.end() < until {
        let turn = chance.below(8);
        let done = match turn {
            0 => writer.commit(),
            1 | 2 => match take(&mut reader) {
                Ok(_) => Ok(()),
                Err(error) => Err(error),
            },
            3 => {
                let acknowledged = reader.acknowledge(reader.offset());
                if acknowledged.is_ok() {
                    note(known, reader.offset());
                }
                acknowledged
            }
            _ => {
                let from = writer.end();
                let to = (from + 1 + chance.below(1500)).min(until);
                known.tried = known.tried.max(to);
                writer.write(&bytes(from, to)).map(|_| ())
            }
        };
        known.written = writer.end();
        known.durable = known.durable.max(spool.progress().durable);
        match done {
            Err(Error::Full) => {
                // Somebody has to read.
                while let Next::Bytes(_) = take(&mut reader)? {}
                reader.acknowledge(reader.offset())?;
                note(known, reader.offset());
            }
            Err(Error::NoRoom { .. }) => {}
            other => other?,
        }
    }
    if chance.coin() {
        known.ended = Some(until);
        while let Err(error) = writer.finish(Some(3)) {
            if !matches!(error, Error::NoRoom { .. }) {
                return Err(error);
            }
        }
        known.durable = known.durable.max(spool.progress().durable);
    }
    Ok(())
}

/// Reads all that is held, and tells how it ends.
fn read_all(spool: &Spool<Disk>) -> Result<(u64, Option<Option<i32>>), Error> {
    let mut reader = spool.passer_by();
    loop {
        match take(&mut reader)? {
            Next::Bytes(_) => {}
            Next::End(status) => return Ok((reader.offset(), Some(status))),
            Next::NothingYet | Next::CutOff => return Ok((reader.offset(), None)),
        }
    }
}

#[derive(Clone, Debug)]
struct Round {
    sync: Sync,
    crash: u64,
    power_cut: bool,
    full: Option<(u64, u64)>,
    seed: u64,
    length: u64,
    /// The end of a stream that is complete is taken back.
    reopen: bool,
}

fn round() -> impl Strategy<Value = Round> {
    let full = proptest::option::of((1..200_u64, 1..40_u64));
    (
        sync(),
        1..250_u64,
        any::<bool>(),
        full,
        any::<u64>(),
        1..9000_u64,
        any::<bool>(),
    )
        .prop_map(
            |(sync, crash, power_cut, full, seed, length, reopen)| Round {
                sync,
                crash,
                power_cut,
                full: full.map(|(from, calls)| (from, from + calls)),
                seed,
                length,
                reopen,
            },
        )
}

fn sync() -> impl Strategy<Value = Sync> {
    prop_oneof![Just(Sync::None), Just(Sync::Disk)]
}

fn kept() -> impl Strategy<Value = (Retain, Option<u64>)> {
    prop_oneof![
        Just((Retain::Everything, None)),
        Just((Retain::Unread, None)),
        Just((Retain::Unread, Some(8000))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(testing::campaign(600, 10_000)))]

    /// The process or the machine crashes at any call, again and again, in recovery too.
    #[test]
    fn a_crash_at_any_step_leaves_a_prefix_and_all_that_was_promised(
        (retain, limit) in kept(),
        sector in prop_oneof![Just(512_usize), Just(4096)],
        seed: u64,
        rounds in prop::collection::vec(round(), 1..6),
    ) {
        let disk = Disk::new(sector, seed);
        let mut known = Known::default();
        for round in rounds {
            let sync = round.sync;
            let mut chance = Chance::new(round.seed);
            disk.set_faults(Faults { crash: Some(round.crash), sync: None, full: round.full });
            let open = if round.reopen { Spool::reopen } else { Spool::open };
            let result = open(disk.clone(), options(sync, retain, limit)).and_then(|(spool, mut writer)| {
                let until = writer.end() + round.length;
                if spool.progress().complete.is_some() {
                    return read_all(&spool).map(drop);
                }
                use_it(&spool, &mut writer, &mut chance, &mut known, sync, until)
            });
            if let Err(error) = result {
                let is_full = matches!(error, Error::NoRoom { .. });
                prop_assert!(disk.has_crashed() || is_full, "{error}");
            }
            if round.power_cut {
                disk.after_power_cut();
            } else {
                disk.after_death_of_the_process();
            }

            // Somebody only looks.
            let view = Spool::view(disk.clone());
            let (end, complete) = view.and_then(|view| read_all(&view)).unwrap();
            let skimmed = Spool::skim(disk.clone()).unwrap();
            prop_assert_eq!(read_all(&skimmed).unwrap(), (end, complete));
            prop_assert_eq!(skimmed.progress().complete, complete);
            let with_left_over = end + skimmed.left_over();
            prop_assert!(end >= known.durable && end <= known.tried);

            let (spool, mut writer) = Spool::open(disk.clone(), options(sync, retain, None)).unwrap();
            let whole = writer.end();
            prop_assert!(whole == with_left_over && whole <= known.tried, "{whole} of {}", known.tried);
            prop_assert!(whole >= known.durable, "{whole} of {} durable", known.durable);
            if !round.power_cut {
                prop_assert!(whole >= known.written, "{whole} of {} written", known.written);
            }
            let told = spool.progress();
            prop_assert_eq!(told.complete, complete);
            if complete.is_some() {
                prop_assert_eq!((known.ended, complete), (Some(whole), Some(Some(3))));
            } else {
                writer.commit().unwrap();
            }
            prop_assert_eq!(read_all(&spool).unwrap(), (whole, complete));
            if spool.progress().first == 0 {
                prop_assert_eq!(spool.checksum().unwrap(), crc32c::crc32c(&bytes(0, whole)));
            }
            let reader = spool.reader("one").unwrap();
            prop_assert!(reader.offset() >= known.acknowledged_durable);
            if !round.power_cut {
                prop_assert!(reader.offset() >= known.acknowledged);
            }
            known.written = whole;
            // Whoever lost something knows from here what is there.
            known.acknowledged = reader.offset();
            if sync == Sync::Disk {
                known.acknowledged_durable = reader.offset();
            }
            known.durable = spool.progress().durable;
            if complete.is_none() {
                known.ended = None;
            }
        }
    }

    /// What reached the disk is unknown after a failed sync, and a second one would lie.
    #[test]
    fn after_a_failed_sync_nothing_is_written_and_the_durable_offset_stays(
        (retain, limit) in kept(),
        sector in prop_oneof![Just(512_usize), Just(4096)],
        seed: u64,
        fails in 1..200_u64,
        length in 1..9000_u64,
    ) {
        let disk = Disk::new(sector, seed);
        let mut chance = Chance::new(seed);
        let mut known = Known::default();
        disk.set_faults(Faults { sync: Some(fails), ..Faults::default() });
        let opened = Spool::open(disk.clone(), options(Sync::Disk, retain, limit));
        if let Ok((spool, mut writer)) = opened {
            match use_it(&spool, &mut writer, &mut chance, &mut known, Sync::Disk, length) {
                Ok(()) => {}
                Err(error) => {
                    prop_assert!(matches!(error, Error::Sync { .. }), "{error}");
                    let durable = spool.progress().durable;
                    let calls = disk.calls();
                    prop_assert!(matches!(writer.write(b"more"), Err(Error::Poisoned)));
                    prop_assert!(matches!(writer.commit(), Err(Error::Poisoned)));
                    prop_assert!(matches!(writer.finish(None), Err(Error::Poisoned)));
                    prop_assert_eq!((disk.calls(), spool.progress().durable), (calls, durable));
                }
            }
        }
        disk.after_power_cut();
        let (spool, writer) = Spool::open(disk, options(Sync::Disk, retain, None)).unwrap();
        prop_assert!(writer.end() >= known.durable && writer.end() <= known.tried);
        prop_assert!(spool.reader("one").unwrap().offset() >= known.acknowledged);
    }

    /// One bit, in any file; a sector of a segment, or one of its files.
    #[test]
    fn damage_is_never_silent(
        sync in sync(),
        (retain, limit) in kept(),
        seed: u64,
        reboot: bool,
        length in 1..20_000_u64,
    ) {
        let disk = Disk::new(512, seed);
        let mut chance = Chance::new(seed);
        let mut known = Known::default();
        {
            let (spool, mut writer) = Spool::open(disk.clone(), options(sync, retain, limit)).unwrap();
            use_it(&spool, &mut writer, &mut chance, &mut known, sync, length).unwrap();
            if known.ended.is_none() {
                writer.commit().unwrap();
            }
            known.durable = spool.progress().durable;
        }
        if reboot && sync == Sync::Disk {
            disk.after_power_cut();
        }
        let (name, at) = disk.damage(&mut chance);
        // All bytes that are given are checked by `take`.
        let read = Spool::open(disk, options(sync, retain, None)).and_then(|(spool, _writer)| {
            let reader = spool.reader("one")?;
            let offset = reader.offset();
            read_all(&spool).map(|(end, complete)| (end, complete, offset))
        });
        match read {
            Err(Error::Damaged(_)) => {}
            Err(error) => prop_assert!(false, "{error}"),
            // What does not matter was hit.
            Ok((end, complete, offset)) => {
                prop_assert!(end >= known.durable, "{name} at {at}: {end} of {}", known.durable);
                prop_assert!(offset >= known.acknowledged, "{name} at {at}");
                if complete.is_some() {
                    prop_assert_eq!(end, length);
                }
                if sync == Sync::Disk {
                    prop_assert_eq!(complete.is_some(), known.ended.is_some());
                }
            }
        }
    }

    /// Whatever the files hold.
    #[test]
    fn any_bytes_can_be_opened_and_nothing_panics(
        files in prop::collection::vec((0..9_usize, prop::collection::vec(any::<u8>(), 0..200)), 0..6),
    ) {
        let names = [
            "00000000000000000000.data",
            "00000000000000000000.index",
            "00000000000000000007.data",
            "00000000000000000007.index",
            "18446744073709551615.index",
            "18446744073709551615.data",
            "released.cursor",
            "reader-one.cursor",
            "lock",
        ];
        let disk = Disk::new(512, 1);
        for (name, bytes) in files {
            disk.put(names[name], bytes);
        }
        if let Ok((spool, mut writer)) = Spool::open(disk, Options::default())
            && let Ok(mut reader) = spool.reader("one")
        {
            writer.write(b"more").ok();
            writer.commit().ok();
            for _ in 0..10 {
                reader.next_piece().ok();
                reader.acknowledge(reader.offset()).ok();
            }
        }
    }
}

/// An earlier opening had no limit, and the last segment is never removed.
#[test]
fn a_limit_below_what_is_held_lets_the_writer_go_on_once_that_was_read() {
    let disk = Disk::new(512, 1);
    let open =
        |retain, limit| Spool::open(disk.clone(), options(Sync::None, retain, limit)).unwrap();
    let (_, mut writer) = open(Retain::Everything, None);
    while writer.end() < 4000 {
        writer.write(&bytes(writer.end(), 4000)).unwrap();
    }
    drop(writer);
    let (spool, mut writer) = open(Retain::Unread, Some(2000));
    let mut reader = spool.reader("one").unwrap();
    assert!(matches!(writer.write(&bytes(4000, 4001)), Err(Error::Full)));
    while let Next::Bytes(_) = take(&mut reader).unwrap() {}
    reader.acknowledge(reader.offset()).unwrap();
    // It may only now notice that the segment is in the way.
    if let Err(error) = writer.write(&bytes(4000, 4001)) {
        assert!(matches!(error, Error::Full), "{error}");
        assert_eq!(writer.write(&bytes(4000, 4001)).unwrap(), 1);
    }
}

#[test]
fn a_reader_need_not_wait_for_the_end_of_a_stream_that_gets_no_more() {
    let disk = Disk::new(512, 1);
    let (spool, mut writer) = Spool::open(disk, Options::default()).unwrap();
    let mut reader = spool.passer_by();
    writer.write(&bytes(0, 3)).unwrap();
    assert!(matches!(reader.next_piece(), Ok(Next::NothingYet)));
    writer.no_more().unwrap();
    reader.wait(None);
    assert!(matches!(take(&mut reader), Ok(Next::Bytes(_))));
    assert!(matches!(reader.next_piece(), Ok(Next::CutOff)));
    writer.finish(Some(7)).unwrap();
    assert!(matches!(reader.next_piece(), Ok(Next::End(Some(7)))));
}
