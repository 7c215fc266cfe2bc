//! The child's first steps: taking possession of what was handed over.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use crate::build;
use crate::channel::{Channel, Peer};
use crate::descriptors::Arrived;
use crate::error::{DescriptorFault, DescriptorKind, Error, Result};
use crate::frame::Format;
use crate::inherited::{is_privileged, take_inherited};
use crate::link::ParentLink;
use crate::manifest::{Contents, Manifest, NamedDescriptor};
use crate::socket::PacketSocket;

/// Takes what was handed over at the descriptor with this number.
///
/// Called once in a process, by the dispatch. The number comes from the command line and the others
/// from the hand-off, which whoever started this program may have made up: none of them is believed
/// to be open, or to have no owner yet.
pub(crate) fn receive(number: &str) -> Result<ParentLink> {
    if is_privileged() {
        return Err(Error::Privileged);
    }
    let manifest = number
        .parse()
        .ok()
        .and_then(|number| take_inherited(number).ok())
        .and_then(Manifest::open)
        .ok_or_else(|| {
            let got = format_args!("{number:?}, at which there is none");
            Error::protocol("the number of a sealed hand-off", got)
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
        match take_inherited(number) {
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

fn own(number: i32) -> Result<OwnedFd> {
    take_inherited(number).map_err(Error::io("take what was handed over"))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
