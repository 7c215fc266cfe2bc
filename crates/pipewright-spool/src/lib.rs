//! A pipe on a disk.
//!
//! A [`Writer`] appends bytes to segments, files that are named by the offset of their first byte and hold
//! the stream and nothing else: `cat *.data` is the stream. Beside each lies an index, whose entries tell
//! how far the stream goes, with a checksum. The end of the stream is an entry, too, so one that was cut
//! off never looks complete. A [`Reader`] gets only bytes that were checked.
//!
//! - With [`Sync::None`] what was written survives the death of any process.
//! - With [`Sync::Disk`] what lies below [`Progress::durable`] survives a power cut.
//! - Damage below the durable offset is an [`Error::Damaged`] that names file and offset. Nothing is
//!   skipped, and nothing dropped.
//! - After a failed sync nothing more is written.
//!
//! ```
//! use pipewright_spool::{Directory, Next, Options, Spool};
//!
//! let place = tempfile::tempdir()?;
//! let (spool, mut writer) = Spool::open(Directory::open(place.path())?, Options::default())?;
//! writer.write(b"HOLA!")?;
//! writer.finish(Some(0))?;
//!
//! let mut reader = spool.reader("somebody")?;
//! let Next::Bytes(piece) = reader.next_piece()? else { panic!() };
//! assert_eq!(piece.length, 5);
//! reader.acknowledge(5)?;
//! assert!(matches!(reader.next_piece()?, Next::End(Some(0))));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cursor;
mod directory;
mod entry;
mod error;
mod files;
mod names;
mod options;
mod reader;
mod recovery;
mod scan;
mod shared;
mod spool;
mod unlinked;
mod writer;

pub use directory::Directory;
pub use error::{Damage, Error, Result};
pub use files::{FileSystem, StoredFile};
pub use options::{Options, Retain, Sync};
pub use reader::{Next, Piece, Reader};
pub use shared::Progress;
pub use spool::Spool;
pub use unlinked::Unlinked;
pub use writer::Writer;
