//! The child's first steps: taking possession of what was handed over.
#![allow(
    unsafe_code,
    reason = "makes owners of descriptors that came with the exec"
)]

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::FdFlags;

use crate::build;
use crate::channel::{Channel, Peer};
use crate::descriptors::Arrived;
use crate::error::{DescriptorFault, DescriptorKind, Error, Result};
use crate::frame::Format;
use crate::link::ParentLink;
use crate::manifest::{Contents, Manifest, NamedDescriptor};
use crate::socket::PacketSocket;

/// Takes what was handed over at the descriptor with this number.
///
/// Called once in a process, by the dispatch.
pub(crate) fn receive(number: &str) -> Result<ParentLink> {
    let manifest = number
        .parse()
        .ok()
        .and_then(|number| own(number).ok())
        .and_then(Manifest::open)
        .ok_or_else(|| {
            let got = format_args!("{number:?}, at which there is none");
            Error::protocol("the number of a sealed hand-over", got)
        })?;
    let head = manifest.head;
    let (socket, parent) = (own(head.channel)?, own(head.parent)?);
    let socket = PacketSocket::new(socket)?;
    let peer = Peer::Process(parent);
    let mut channel = Channel::over(socket, peer, Format::Postcard, "parent");

    if head.build != build::own() {
        let message = "this is not the program that the parent runs: it was built at another time";
        // The form of packets belongs to the build, too: the parent may not be able to read this.
        let _ = channel.fail("start", message, None);
        let got = hexadecimal(&head.build);
        let expected = format_args!("the build {}", hexadecimal(&build::own()));
        return Err(Error::protocol(expected, got));
    }
    match take_rest(manifest) {
        Ok((contents, manifest, arrived)) => {
            Ok(ParentLink::new(channel, contents, manifest, arrived))
        }
        Err(error) => {
            let _ = channel.fail("start", &error.to_string(), error.raw_os_error());
            Err(error)
        }
    }
}

type Taken = (Contents, Manifest, Arrived);

fn take_rest(manifest: Manifest) -> Result<Taken> {
    let mut contents = manifest.contents()?;
    let mut arrived = BTreeMap::new();
    for named in std::mem::take(&mut contents.descriptors) {
        let NamedDescriptor { name, number, kind } = named;
        match own(number) {
            Ok(descriptor) if DescriptorKind::of(&descriptor)? == kind => {
                arrived.insert(name, Some(descriptor));
            }
            _ => {
                let fault = DescriptorFault::NotArrived { number, sent: kind };
                return Err(Error::Descriptor { name, fault });
            }
        }
    }
    Ok((contents, manifest, Arrived(arrived)))
}

/// Makes the descriptor with this number this process's own, close-on-exec.
fn own(number: i32) -> Result<OwnedFd> {
    if number < 3 {
        let got = format_args!("{number}");
        return Err(Error::protocol("a descriptor number above 2", got));
    }
    // SAFETY: borrowed only for the next call, which fails when the number is not open.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    rustix::io::fcntl_setfd(descriptor, FdFlags::CLOEXEC)
        .map_err(Error::system("find a descriptor that was handed over"))?;
    // SAFETY: it is open, and nothing else in this process owns it: it came with the exec, the parent
    // named the number in a sealed table for this child, with each number once, and this is done once
    // in a process, before the program opened anything.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
