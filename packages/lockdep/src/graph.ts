/** placeholder until the next commit */
export interface Edge {
  readonly mask: number;
}
