//! Where the buffers lie: offsets in one arena such that buffers that live at the same time do
//! not overlap.

use crate::program::{ALIGNMENT, Program, SLACK, Space};

/// The plan of the arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arena {
    /// Offset of every buffer.
    pub offsets: Vec<usize>,
    /// Bytes in all.
    pub size: usize,
}

/// First and last step that touch a buffer.
type Lifetime = (usize, usize);

/// Places the largest buffers first, each at the lowest offset that is free during its life.
pub(crate) fn plan(program: &Program) -> Arena {
    let lifetimes = lifetimes(program);
    let sizes: Vec<usize> = program.buffers.iter().map(|size| (size + SLACK).next_multiple_of(ALIGNMENT)).collect();
    let mut order: Vec<usize> = (0..sizes.len()).filter(|&buffer| lifetimes[buffer].is_some()).collect();
    order.sort_by_key(|&buffer| (std::cmp::Reverse(sizes[buffer]), buffer));
    let mut offsets = vec![0; sizes.len()];
    let mut placed: Vec<usize> = Vec::new();
    for &buffer in &order {
        let mut busy: Vec<(usize, usize)> = placed
            .iter()
            .filter(|&&other| overlap(lifetimes[buffer], lifetimes[other]))
            .map(|&other| (offsets[other], offsets[other] + sizes[other]))
            .collect();
        busy.sort_unstable();
        let mut offset = 0;
        for (start, end) in busy {
            if offset + sizes[buffer] <= start {
                break;
            }
            offset = offset.max(end);
        }
        offsets[buffer] = offset;
        placed.push(buffer);
    }
    let size = order.iter().map(|&buffer| offsets[buffer] + sizes[buffer]).max().unwrap_or(0).max(ALIGNMENT);
    Arena { offsets, size }
}

fn lifetimes(program: &Program) -> Vec<Option<Lifetime>> {
    let mut lifetimes: Vec<Option<Lifetime>> = vec![None; program.buffers.len()];
    for (step, kernels) in program.steps.iter().enumerate() {
        for location in kernels.kernels.iter().flat_map(|kernel| kernel.locations()) {
            if let Space::Buffer(buffer) = location.space {
                let first = lifetimes[buffer].map_or(step, |(first, _)| first);
                lifetimes[buffer] = Some((first, step));
            }
        }
    }
    lifetimes
}

fn overlap(a: Option<Lifetime>, b: Option<Lifetime>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.0 <= b.1 && b.0 <= a.1,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::{Copy, Kernel, Location, Step};

    fn copy(source: usize, target: usize) -> Step {
        let copy = Copy {
            source: Location::buffer(source),
            target: Location::buffer(target),
            dimensions: Vec::new(),
            add: 0,
            widen: false,
        };
        Step { kernels: vec![Kernel::Copy(copy)] }
    }

    #[test]
    fn a_chain_needs_two_buffers() {
        let program = Program {
            steps: vec![copy(0, 1), copy(1, 2), copy(2, 3)],
            rom: Vec::new(),
            buffers: vec![100, 100, 100, 100],
        };
        let arena = plan(&program);
        assert_eq!(arena.size, 256);
        assert!(arena.offsets.iter().all(|offset| offset % ALIGNMENT == 0));
    }
}
