import { area } from "./parts/part0";
import type { Shape } from "./shapes";

type Part = { area(shapes: readonly Shape[]): number };

const parts = import.meta.glob<Part>("./parts/part*.ts", { eager: true });
const shapes: Shape[] = [{ name: "one", sides: 0, size: 1 }];
const sum = Object.values(parts).reduce((sum, part) => sum + part.area(shapes), area(shapes));
document.body.dataset.sum = `${sum} ${__BUILT_FOR__}`;
