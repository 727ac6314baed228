//! Random graphs as a proptest strategy.

use super::{RandomOptions, random_graph};
use lutweave_ir::Graph;
use proptest::prelude::{Just, Strategy, any};

/// A graph, and what made it.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// The seed for [`random_graph`], and a good one for [`lutweave_ir::random::random_inputs`].
    pub seed: u64,
    /// The bound on operators under which the graph was made.
    pub operators: usize,
    /// The graph.
    pub graph: Graph,
}

/// Graphs under some options. Shrinks by making fewer operators from the same seed: up to the
/// point where it stops, the smaller graph is made as the larger one was.
pub fn any_graph(options: RandomOptions) -> impl Strategy<Value = Drawn> {
    let operators = options.operators.clone();
    any::<u64>().no_shrink().prop_flat_map(move |seed| (Just(seed), operators.clone())).prop_map(
        move |(seed, operators)| {
            let options = RandomOptions { operators: operators..=operators, ..options.clone() };
            Drawn { seed, operators, graph: random_graph(seed, &options) }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    #[test]
    fn graphs_shrink_to_fewer_operators() {
        let mut runner = TestRunner::deterministic();
        let mut tree = any_graph(RandomOptions::default()).new_tree(&mut runner).expect("a graph is always found");
        let seed = tree.current().seed;
        while tree.simplify() {}
        assert_eq!((tree.current().seed, tree.current().operators), (seed, 1));
    }
}
