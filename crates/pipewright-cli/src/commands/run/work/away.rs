//! Stages of a pipeline that are moved to other hosts.

use std::collections::BTreeMap;

use super::super::elsewhere::Elsewhere;
use super::Work;
use crate::outcome::OnHost;

impl Work {
    /// Has stages run on other hosts.
    pub(in super::super) fn move_away(&mut self, asked: &[(usize, String)]) -> anyhow::Result<()> {
        if asked.is_empty() {
            return Ok(());
        }
        self.refuse_whole("--on")?;
        self.elsewhere = Elsewhere::of(&self.script.stages, asked)?;
        if let Some((number, _)) = asked
            .iter()
            .find(|(number, _)| self.wide.count(number - 1).is_some())
        {
            anyhow::bail!("stage {number} cannot be run by workers here and on another host");
        }
        Ok(())
    }

    /// Reads what the stages on other hosts have told, once they have ended.
    pub(in super::super) fn on_hosts(&mut self) -> BTreeMap<usize, OnHost> {
        self.elsewhere.told()
    }
}
