//! A model of a file system that crashes.
//!
//! Each file, and the list of names, has two halves: what processes see, and what is on the disk. Syncing
//! makes them equal. Before that the kernel may write back any sector at any time, and at a crash of the
//! machine each sector, each length and each name is the old or the new one, by chance.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file compiles this module and uses a part of it"
)]

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use pipewright_spool::{FileSystem, StoredFile};

/// A small source of chance, with a seed that a failure names.
#[derive(Debug)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) % bound.max(1)
    }

    pub fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}

#[derive(Clone, Debug, Default)]
struct Inode {
    seen: Vec<u8>,
    stored: Vec<u8>,
    /// A sync has failed: the kernel believes that these bytes are on the disk.
    lost: bool,
}

/// What goes wrong, and at which of the calls that change something.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// From this call on nothing happens any more.
    pub crash: Option<u64>,
    /// This call, if it is a sync, fails.
    pub sync: Option<u64>,
    /// The disk is full from the first call to the second.
    pub full: Option<(u64, u64)>,
}

#[derive(Debug)]
struct State {
    inodes: Vec<Inode>,
    seen: BTreeMap<String, usize>,
    stored: BTreeMap<String, usize>,
    sector: usize,
    boot: u64,
    calls: u64,
    faults: Faults,
    crashed: bool,
    chance: Chance,
}

/// The model, as every process on the machine sees it.
#[derive(Clone, Debug)]
pub struct Disk(Arc<Mutex<State>>);

/// A file on it.
#[derive(Debug)]
pub struct ModelFile {
    disk: Disk,
    inode: usize,
    writable: bool,
}

enum Call {
    Works,
    Crashes,
}

impl Disk {
    pub fn new(sector: usize, seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            inodes: Vec::new(),
            seen: BTreeMap::new(),
            stored: BTreeMap::new(),
            sector,
            boot: 1,
            calls: 0,
            faults: Faults::default(),
            crashed: false,
            chance: Chance::new(seed),
        })))
    }

    /// What goes wrong from now on; calls are counted anew.
    pub fn set_faults(&self, faults: Faults) {
        let mut state = self.state();
        (state.faults, state.calls) = (faults, 0);
    }

    pub fn has_crashed(&self) -> bool {
        self.state().crashed
    }

    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// The process is gone, and what it wrote is there.
    pub fn after_death_of_the_process(&self) {
        let mut state = self.state();
        state.crashed = false;
        state.faults = Faults::default();
    }

    /// The machine starts again with what was on the disk.
    pub fn after_power_cut(&self) {
        let mut state = self.state();
        let state = &mut *state;
        state.crashed = false;
        state.faults = Faults::default();
        state.boot += 1;
        for inode in &mut state.inodes {
            let length = if inode.lost || state.chance.coin() {
                inode.stored.len()
            } else {
                inode.seen.len()
            };
            let sectors = inode.seen.len().div_ceil(state.sector);
            for sector in 0..sectors {
                if !inode.lost && state.chance.coin() {
                    inode.write_back(sector, state.sector);
                }
            }
            inode.stored.resize(length, 0);
            inode.seen.clone_from(&inode.stored);
            inode.lost = false;
        }
        let names: Vec<_> = state
            .seen
            .keys()
            .chain(state.stored.keys())
            .cloned()
            .collect();
        for name in names {
            if state.chance.coin() {
                match state.seen.get(&name).copied() {
                    Some(inode) => state.stored.insert(name, inode),
                    None => state.stored.remove(&name),
                };
            }
        }
        state.seen = state.stored.clone();
    }

    /// Turns over one bit of a file that is not empty, or takes a segment's file, or a sector of it, away:
    /// not of the last index, for without its last entries it is what a crash might have left. Tells
    /// which: its name and byte.
    pub fn damage(&self, chance: &mut Chance) -> (String, usize) {
        let mut state = self.state();
        let files: Vec<_> = state
            .seen
            .iter()
            .filter(|(_, inode)| !state.inodes[**inode].seen.is_empty())
            .map(|(name, inode)| (name.clone(), *inode))
            .collect();
        let (name, inode) = files[chance.below(files.len() as u64) as usize].clone();
        let indexes = files.iter().map(|(name, _)| name);
        let last_index = indexes.filter(|name| name.ends_with(".index")).max();
        let may_go =
            name.ends_with(".data") || (name.ends_with(".index") && Some(&name) != last_index);
        let sector = state.sector;
        let bytes = &mut state.inodes[inode].seen;
        let byte = chance.below(bytes.len() as u64) as usize;
        match chance.below(if may_go { 4 } else { 2 }) {
            0 | 1 => bytes[byte] ^= 1 << chance.below(8),
            2 => {
                let from = byte / sector * sector;
                let to = (from + sector).min(bytes.len());
                bytes[from..to].fill(0);
            }
            _ => {
                state.seen.remove(&name);
                state.stored.remove(&name);
            }
        }
        state.inodes[inode].stored = state.inodes[inode].seen.clone();
        (name, byte)
    }

    /// Makes a file with these bytes.
    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        let mut state = self.state();
        let inode = state.inodes.len();
        state.inodes.push(Inode {
            seen: bytes.clone(),
            stored: bytes,
            lost: false,
        });
        state.seen.insert(name.to_owned(), inode);
        state.stored.insert(name.to_owned(), inode);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl Inode {
    fn write_back(&mut self, sector: usize, size: usize) {
        let from = (sector * size).min(self.seen.len());
        let to = (from + size).min(self.seen.len());
        if self.stored.len() < to {
            self.stored.resize(to, 0);
        }
        self.stored[from..to].copy_from_slice(&self.seen[from..to]);
    }
}

impl State {
    /// Counts a call that changes something.
    fn call(&mut self) -> io::Result<Call> {
        if self.crashed {
            return Err(io::Error::other("the process is dead"));
        }
        self.calls += 1;
        // Meanwhile the kernel writes back what it likes.
        if !self.inodes.is_empty() {
            let inode = self.chance.below(self.inodes.len() as u64) as usize;
            let sectors = self.inodes[inode].seen.len().div_ceil(self.sector) as u64;
            let sector = self.chance.below(sectors) as usize;
            if !self.inodes[inode].lost {
                self.inodes[inode].write_back(sector, self.sector);
            }
        }
        if self.faults.crash == Some(self.calls) {
            self.crashed = true;
            return Ok(Call::Crashes);
        }
        Ok(Call::Works)
    }

    fn alive(&mut self) -> io::Result<()> {
        match self.call()? {
            Call::Works => Ok(()),
            Call::Crashes => Err(io::Error::other("the process is killed")),
        }
    }

    fn is_full(&self) -> bool {
        let full = self.faults.full;
        full.is_some_and(|(from, to)| (from..to).contains(&self.calls))
    }

    fn sync_fails(&self) -> bool {
        self.faults.sync.is_some_and(|call| self.calls == call)
    }
}

impl FileSystem for Disk {
    type File = ModelFile;

    fn create(&self, name: &str) -> io::Result<ModelFile> {
        let mut state = self.state();
        state.alive()?;
        let inode = match state.seen.get(name) {
            Some(inode) => *inode,
            None if state.is_full() => return Err(io::ErrorKind::StorageFull.into()),
            None => {
                let inode = state.inodes.len();
                state.inodes.push(Inode::default());
                state.seen.insert(name.to_owned(), inode);
                inode
            }
        };
        let disk = self.clone();
        Ok(ModelFile {
            disk,
            inode,
            writable: true,
        })
    }

    fn open(&self, name: &str) -> io::Result<ModelFile> {
        let state = self.state();
        let inode = *state.seen.get(name).ok_or(io::ErrorKind::NotFound)?;
        let disk = self.clone();
        Ok(ModelFile {
            disk,
            inode,
            writable: false,
        })
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().seen.keys().cloned().collect())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.alive()?;
        let removed = state.seen.remove(name);
        removed.map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        state.alive()?;
        if state.sync_fails() {
            return Err(io::Error::other("the disk does not answer"));
        }
        state.stored = state.seen.clone();
        Ok(())
    }

    fn boot(&self) -> String {
        self.state().boot.to_string()
    }
}

impl StoredFile for ModelFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.state();
        let from = &state.inodes[self.inode].seen;
        let from = from.get(offset as usize..).unwrap_or_default();
        let length = from.len().min(bytes.len());
        bytes[..length].copy_from_slice(&from[..length]);
        Ok(length)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        assert!(self.writable, "the file was opened to read");
        let mut state = self.disk.state();
        let state = &mut *state;
        let call = state.call()?;
        if state.is_full() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let offset = offset as usize;
        let length = match call {
            // A write that is killed ends at a page.
            Call::Crashes => {
                let all = (offset + bytes.len()) / 4096 * 4096;
                let whole = state.chance.coin() && bytes.len() <= 4096;
                if whole {
                    bytes.len()
                } else {
                    all.saturating_sub(offset).min(bytes.len())
                }
            }
            Call::Works if bytes.len() > 64 => 1 + state.chance.below(bytes.len() as u64) as usize,
            Call::Works => bytes.len(),
        };
        let seen = &mut state.inodes[self.inode].seen;
        if length > 0 {
            let end = seen.len().max(offset + length);
            seen.resize(end, 0);
            seen[offset..][..length].copy_from_slice(&bytes[..length]);
        }
        match call {
            Call::Works => Ok(length),
            Call::Crashes => Err(io::Error::other("the process is killed")),
        }
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.state().inodes[self.inode].seen.len() as u64)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        assert!(self.writable, "the file was opened to read");
        let mut state = self.disk.state();
        state.alive()?;
        state.inodes[self.inode].seen.resize(length as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.alive()?;
        let fails = state.sync_fails();
        let inode = &mut state.inodes[self.inode];
        if fails {
            // The kernel has dropped the bytes: syncing again would bring nothing to the disk.
            inode.lost = true;
            return Err(io::Error::other("the disk does not answer"));
        }
        if !inode.lost {
            inode.stored = inode.seen.clone();
        }
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }
}
