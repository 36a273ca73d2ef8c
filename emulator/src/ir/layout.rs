//! Order of the blocks, so that the group of lanes with the lowest program counter is always the right one to run.
//!
//! Wanted: a block comes after every block that can lead to it without going round a loop, and the blocks of a loop lie
//! together. Then lanes that took different sides of a branch meet where the sides meet, at the latest at the branch's
//! immediate post-dominator, and lanes that leave a loop wait behind it. So: strongly connected components in topological
//! order; inside one, its header first, then the same again without the edges back to the header. All edges back go
//! through one latch block, added here, which comes last in its loop: there the lanes of an iteration meet.

/// The order, as block numbers; blocks that cannot be reached are left out. `successors` grows by the latches that were
/// added, and the edges into them are redirected.
pub fn order(successors: &mut Vec<Vec<usize>>) -> Vec<usize> {
    let mut reached = vec![false; successors.len()];
    let mut work = vec![0];
    while let Some(b) = work.pop() {
        if !std::mem::replace(&mut reached[b], true) {
            work.extend(&successors[b]);
        }
    }
    let nodes = (0..successors.len()).filter(|&b| reached[b]).collect();
    let mut out = Vec::new();
    arrange(successors, nodes, 0, None, &mut out);
    out
}

/// Orders `nodes`, entered at `entry`, ignoring edges to `header`.
fn arrange(successors: &mut Vec<Vec<usize>>, nodes: Vec<usize>, entry: usize, header: Option<usize>, out: &mut Vec<usize>) {
    for component in components(successors, &nodes, entry, header) {
        let single = component.len() == 1;
        if single && (Some(component[0]) == header || !successors[component[0]].contains(&component[0])) {
            out.push(component[0]);
            continue;
        }
        // The header: where the component is entered from outside.
        let inside = |b: usize| component.contains(&b);
        let head = if inside(entry) {
            entry
        } else {
            let outside = nodes.iter().filter(|&&b| !inside(b));
            outside.flat_map(|&b| &successors[b]).copied().find(|&b| inside(b)).unwrap_or(component[0])
        };
        let back: Vec<usize> = component.iter().copied().filter(|&b| successors[b].contains(&head)).collect();
        let mut component = component;
        if back.len() > 1 || single {
            let latch = successors.len();
            successors.push(vec![head]);
            for b in back {
                for s in &mut successors[b] {
                    if *s == head {
                        *s = latch;
                    }
                }
            }
            component.push(latch);
        }
        arrange(successors, component, head, Some(head), out);
    }
}

/// Strongly connected components among `nodes` in topological order (Tarjan, without recursion).
fn components(successors: &[Vec<usize>], nodes: &[usize], entry: usize, header: Option<usize>) -> Vec<Vec<usize>> {
    const NEW: usize = usize::MAX;
    let n = successors.len();
    let (mut index, mut low, mut on_stack, mut member) = (vec![NEW; n], vec![0; n], vec![false; n], vec![false; n]);
    nodes.iter().for_each(|&b| member[b] = true);
    let (mut count, mut stack, mut out) = (0, Vec::new(), Vec::new());
    let roots = std::iter::once(entry).chain(nodes.iter().copied());
    for root in roots {
        if index[root] != NEW {
            continue;
        }
        let mut calls = vec![(root, 0)];
        while let Some(&mut (b, ref mut next)) = calls.last_mut() {
            if *next == 0 {
                index[b] = count;
                low[b] = count;
                count += 1;
                stack.push(b);
                on_stack[b] = true;
            }
            if let Some(&s) = successors[b].get(*next) {
                *next += 1;
                if Some(s) == header || !member[s] {
                    continue;
                }
                if index[s] == NEW {
                    calls.push((s, 0));
                } else if on_stack[s] {
                    low[b] = low[b].min(index[s]);
                }
                // A node is entered once: `next` is above 0 from here on.
                continue;
            }
            if low[b] == index[b] {
                let at = stack.iter().rposition(|&x| x == b).unwrap_or(0);
                let component = stack.split_off(at);
                component.iter().for_each(|&x| on_stack[x] = false);
                out.push(component);
            }
            calls.pop();
            if let Some(&(parent, _)) = calls.last() {
                low[parent] = low[parent].min(low[b]);
            }
        }
    }
    out.reverse();
    out
}

/// Immediate post-dominator sets are small here: for each block, the blocks on every way from it to an exit, itself apart.
pub fn post_dominators(successors: &[Vec<usize>], of: usize) -> Vec<usize> {
    let mut reached = vec![false; successors.len()];
    let reach = |from: usize, without: Option<usize>| {
        let (mut seen, mut work) = (vec![false; successors.len()], vec![from]);
        while let Some(b) = work.pop() {
            if Some(b) != without && !std::mem::replace(&mut seen[b], true) {
                work.extend(&successors[b]);
            }
        }
        seen
    };
    let from_here = reach(of, None);
    reached.copy_from_slice(&from_here);
    (0..successors.len())
        .filter(|&b| b != of && reached[b])
        .filter(|&b| {
            let around = reach(of, Some(b));
            !(0..successors.len()).any(|x| around[x] && successors[x].is_empty())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_come_before_where_they_meet_and_loops_before_what_follows() {
        // 0 → {3 (exit side), 1}; 1 → 2; 2 → {1, 3}; 3 ends.
        let mut edges = vec![vec![3, 1], vec![2], vec![1, 3], vec![]];
        assert_eq!(order(&mut edges), [0, 1, 2, 3]);
        // A loop with two ways back gets one latch, last in the loop.
        let mut edges = vec![vec![1], vec![2, 3], vec![1, 4], vec![1], vec![]];
        let order = order(&mut edges);
        assert_eq!(edges.len(), 6);
        assert_eq!(edges[5], [1]);
        assert_eq!((order[0], order[1], order[4], order[5]), (0, 1, 5, 4));
    }
}
