/**
 * Groups of nodes that can reach each other, each with more than one node (Tarjan 1972).
 *
 * @param targets what a node refers to
 */
export function circlesOf(
  nodes: readonly string[],
  targets: (node: string) => Iterable<string>,
): readonly (readonly string[])[] {
  const index = new Map<string, number>();
  const low = new Map<string, number>();
  const stack: string[] = [];
  const onStack = new Set<string>();
  const circles: string[][] = [];
  const visit = (node: string): void => {
    index.set(node, index.size);
    low.set(node, index.get(node)!);
    stack.push(node);
    onStack.add(node);
    for (const target of targets(node)) {
      if (!index.has(target)) {
        visit(target);
        low.set(node, Math.min(low.get(node)!, low.get(target)!));
      } else if (onStack.has(target)) {
        low.set(node, Math.min(low.get(node)!, index.get(target)!));
      }
    }
    if (low.get(node) !== index.get(node)) return;
    const group = stack.splice(stack.indexOf(node));
    for (const member of group) onStack.delete(member);
    if (group.length > 1) circles.push(group.toSorted());
  };
  for (const node of nodes) if (!index.has(node)) visit(node);
  return circles;
}
