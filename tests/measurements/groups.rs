//! Thirty workers of one group at three servers, who come and go under 20,000 jobs a second, while links are cut. Run by
//! `make measure`.

use crate::nats::workers::{Outcome, Plan, try_out};

const PER_SECOND: usize = 20_000;

#[test]
#[ignore = "a measurement"]
fn jobs_of_a_group_that_comes_and_goes() {
    let plan = Plan {
        restless: 20 * PER_SECOND,
        quiet: 10 * PER_SECOND,
        cuts: 10,
        per_second: Some(PER_SECOND),
    };
    let Outcome {
        twice,
        lost_while_quiet,
        lost_while_restless,
        departures,
    } = try_out(&plan);
    println!(
        "measured: of {} jobs while {departures} times a worker left and {} times a link was cut: {twice} done twice, \
         {lost_while_restless} never; of {} while nothing changed {lost_while_quiet} never",
        plan.restless, plan.cuts, plan.quiet
    );
    assert_eq!((twice, lost_while_quiet), (0, 0));
}
