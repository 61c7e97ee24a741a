//! Joins the keyed state of a running job with who owns the hosts: `cargo run --example live_state`
//!
//! Writes how many hosts of each team have state, as of each checkpoint that changes a number.

use std::env::args_os;
use std::process::ExitCode;

use differential_dataflow::input::Input;
use differential_dataflow::operators::CountTotal;
use tidewatch::prelude::*;
use tidewatch::registry::Registry;

/// Host and team.
const OWNERS: [(&str, &str); 4] =
    [("key-000000", "search"), ("key-000001", "search"), ("key-000002", "search"), ("key-000003", "billing")];

fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.observe(|states| {
        let scope = states.stream.scope();
        // Given once: the join brings each to the worker of its host.
        let owners = OWNERS.iter().filter(|_| scope.index() == 0);
        let owners = owners.map(|(host, team)| (Key::new(host), (*team).to_owned()));
        let (_, owners) = scope.new_collection_from(owners.collect::<Vec<_>>());
        let known = states.collect_states().map(|(host, _state)| (host, ()));
        let teams = known.join_map(owners, |_host, (), team| team.clone()).count_total();
        // A number that no longer holds is taken away: its change is -1.
        let changes = teams.inner.map(|((team, hosts), time, change)| Emission {
            time,
            key: Key::from_parts([&*team, &hosts.to_string()]),
            value: change as f64,
        });
        changes.egress(Output::json(Stdout::new(), Schema::new(["team", "hosts"], ["change"])));
    });
    registry
}

fn main() -> ExitCode {
    match args_os().len() {
        1 => tidewatch::cli::main_with(registry(), ["tidewatch", "run", "examples/live_state.toml"]),
        _ => tidewatch::cli::main(registry()),
    }
}
