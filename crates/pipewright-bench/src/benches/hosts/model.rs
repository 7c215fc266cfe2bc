//! How much faster many hosts make a stage. Pure.

/// What a stage on other hosts costs, as measured with all hosts on one machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Costs {
    /// Seconds until the hosts are there.
    pub(super) begin: f64,
    /// Seconds a byte in the command.
    pub(super) compute: f64,
    /// Seconds a byte through one host and back, both sides of it on this machine.
    pub(super) link: f64,
    /// Seconds a byte to cut the input and to give the output, without a link.
    pub(super) copy: f64,
    /// Cores of this machine, and of each host.
    pub(super) cores: usize,
}

/// What bounds the speed on a number of hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    /// Another host would be used.
    Hosts,
    /// This machine encrypts and copies all the time.
    Ssh,
    /// The one thread that cuts the input is busy all the time.
    Cutting,
}

/// How many times as fast as one run the stage is on this many hosts, and what bounds it.
pub(super) fn speed_up(costs: Costs, hosts: usize) -> (f64, Bound) {
    let cores = costs.cores as f64;
    // Of a link's work half is done here, half there.
    let half = (costs.link - costs.copy).max(0.0) / 2.0;
    let there = hosts as f64 * cores / (costs.compute + half);
    // Cores here do this side of all links; two of them at least can be had at once for one link.
    let here = cores / (half + costs.copy);
    let cutting = 1.0 / costs.copy;
    let bounds = [
        (there, Bound::Hosts),
        (here, Bound::Ssh),
        (cutting, Bound::Cutting),
    ];
    let least = bounds
        .into_iter()
        .min_by(|one, other| one.0.total_cmp(&other.0));
    let (rate, bound) = least.expect("there are three");
    (rate * costs.compute, bound)
}

/// The curve to 100 hosts as text, with where it saturates and why.
pub(super) fn curve(stage: &str, costs: Costs) -> String {
    let points: Vec<String> = [1, 2, 5, 10, 20, 50, 100]
        .iter()
        .map(|&hosts| format!("{hosts} hosts {:.1}", speed_up(costs, hosts).0))
        .collect();
    let saturated = (1..=1000).find(|&hosts| speed_up(costs, hosts).1 != Bound::Hosts);
    let end = match saturated {
        None => "it does not saturate up to 1000 hosts".to_owned(),
        Some(hosts) => {
            let (times, bound) = speed_up(costs, hosts);
            let rate = 1e-6 * times / costs.compute;
            let why = match bound {
                Bound::Ssh => "this machine encrypts and copies all the time",
                _ => "one thread cuts the input all the time",
            };
            format!("it saturates at {hosts} hosts, where {why} ({rate:.0} MB/s)")
        }
    };
    format!(
        "{stage}: times as fast by the model, hosts of {} cores: {}; {end}; measured: {:.1} ns a byte to compute, {:.1} through a link, {:.1} without one, {:.0} ms to begin",
        costs.cores,
        points.join(", "),
        costs.compute * 1e9,
        costs.link * 1e9,
        costs.copy * 1e9,
        costs.begin * 1e3
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Costs = Costs {
        begin: 0.3,
        compute: 200e-9,
        link: 5e-9,
        copy: 1e-9,
        cores: 2,
    };

    #[test]
    fn a_slow_stage_gains_with_each_host_until_this_machine_is_busy() {
        let (one, bound) = speed_up(SLOW, 1);
        assert!((1.9..2.0).contains(&one) && bound == Bound::Hosts, "{one}");
        assert!(speed_up(SLOW, 10).0 > 9.9 * one);
        // 2 cores, 3 ns a byte: 667 MB/s, of which one run does 5.
        let (many, bound) = speed_up(SLOW, 100);
        assert!(
            (133.0..134.0).contains(&many) && bound == Bound::Ssh,
            "{many}"
        );
    }

    #[test]
    fn with_many_cores_here_the_one_thread_that_cuts_is_the_bound() {
        let costs = Costs { cores: 64, ..SLOW };
        let (most, bound) = speed_up(costs, 100);
        assert!(
            (most - 200.0).abs() < 1e-6 && bound == Bound::Cutting,
            "{most} {bound:?}"
        );
    }

    #[test]
    fn the_curve_says_where_it_saturates_and_why() {
        let text = curve("grep", SLOW);
        assert!(
            text.contains("1 hosts 2.0") && text.contains("100 hosts 133.3"),
            "{text}"
        );
        assert!(
            text.contains("saturates at 68 hosts, where this machine encrypts"),
            "{text}"
        );
    }
}
