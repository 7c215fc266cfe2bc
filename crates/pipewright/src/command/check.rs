//! Whether a command was put together rightly.

use std::collections::BTreeSet;
use std::ffi::OsStr;

use super::{Command, Stdio};
use crate::error::{InvalidCommand, Result};

impl Command {
    /// Looks for what is wrong with this command, without touching the system.
    pub(crate) fn check(&self) -> Result<()> {
        self.first_fault()
            .map_or(Ok(()), |reason| Err(self.invalid(reason)))
    }

    fn first_fault(&self) -> Option<InvalidCommand> {
        use InvalidCommand as Fault;
        let standard = [&self.stdin, &self.stdout, &self.stderr];
        let mut numbers: BTreeSet<i32> = (0..)
            .zip(standard)
            .filter_map(|(number, stdio)| stdio.as_ref().map(|_| number))
            .collect();
        for (number, _) in &self.descriptors {
            if *number < 0 {
                return Some(Fault::DescriptorNegative(*number));
            }
            if !numbers.insert(*number) {
                return Some(Fault::DescriptorTwice(*number));
            }
        }
        for number in &self.inherited {
            if *number < 0 {
                return Some(Fault::DescriptorNegative(*number));
            }
            if numbers.contains(number) {
                return Some(Fault::DescriptorTwice(*number));
            }
        }
        for (number, name) in [(0, "stdin"), (1, "stdout"), (2, "stderr")] {
            match self.standard(number) {
                Some(Stdio::SameAsStdout) if number != 2 => return Some(Fault::SameAsStdout(name)),
                Some(Stdio::SameAsStderr) if number != 1 => return Some(Fault::SameAsStderr(name)),
                _ => {}
            }
        }
        if let (Some(Stdio::SameAsStderr), Some(Stdio::SameAsStdout)) = (&self.stdout, &self.stderr)
        {
            return Some(Fault::SameAsEachOther);
        }
        if self.attributes.session && self.attributes.process_group.is_some() {
            return Some(Fault::SessionAndGroup);
        }
        // The kernel reads an id of all ones as "leave it as it is".
        if self.attributes.user == Some(u32::MAX) {
            return Some(Fault::UserId);
        }
        let mut groups = self.attributes.groups.iter().flatten();
        if self.attributes.group == Some(u32::MAX) || groups.any(|group| *group == u32::MAX) {
            return Some(Fault::GroupId);
        }
        let nul = |text: &OsStr| text.as_encoded_bytes().contains(&0);
        if nul(&self.program) || self.argv0.as_deref().is_some_and(nul) {
            return Some(Fault::InteriorNul("the program's name"));
        }
        if self.arguments.iter().any(|argument| nul(argument)) {
            return Some(Fault::InteriorNul("an argument"));
        }
        let mut directories = [&self.directory, &self.root].into_iter().flatten();
        if directories.any(|directory| nul(directory.as_os_str())) {
            return Some(Fault::InteriorNul("the directory"));
        }
        if self.shell.as_ref().is_some_and(|it| nul(it.as_os_str())) {
            return Some(Fault::InteriorNul("the shell"));
        }
        for (name, value) in &self.environment.changes {
            if name.is_empty() || name.as_encoded_bytes().contains(&b'=') {
                return Some(Fault::VariableName(name.to_string_lossy().into_owned()));
            }
            if nul(name) || value.as_deref().is_some_and(nul) {
                return Some(Fault::InteriorNul("an environment variable"));
            }
        }
        None
    }
}
