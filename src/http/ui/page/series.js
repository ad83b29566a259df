// An answer of the API as columns of numbers: what graph and table are made of.

/// A value as the API writes it. Number() knows no “+Inf”.
function parse(text) {
  if (text === "+Inf" || text === "Inf") return Infinity;
  if (text === "-Inf") return -Infinity;
  return Number(text);
}

/// Series with their times and values, and what a table shows of each.
export function seriesOf(data) {
  switch (data.resultType) {
    case "matrix":
      return data.result.map((one) => summed(one.metric, one.values ?? [], one.histograms?.length > 0));
    case "vector":
      return data.result.map((one) => summed(one.metric, one.value ? [one.value] : [], Boolean(one.histogram)));
    case "scalar":
      return [summed({}, [data.result])];
    default:
      return [];
  }
}

/// `histograms`: some of its samples are native histograms, which are no numbers.
function summed(labels, points, histograms = false) {
  const times = points.map((point) => point[0]);
  const values = points.map((point) => parse(point[1]));
  let [min, max, sum] = [Infinity, -Infinity, 0];
  for (const value of values) {
    if (value < min) min = value;
    if (value > max) max = value;
    sum += value;
  }
  const any = values.length > 0;
  const real = any && min <= max;
  return {
    labels,
    histograms,
    times,
    values,
    last: any ? values[values.length - 1] : null,
    min: real ? min : any ? NaN : null,
    max: real ? max : any ? NaN : null,
    avg: any ? sum / values.length : null,
  };
}

const drawable = (value) => (Number.isFinite(value) ? value : null);

/// Columns for uPlot, on a grid of steps: a step without a sample is a gap. Infinities and NaN
/// cannot be drawn, and are gaps as well.
export function onGrid(series, { start, end, step }) {
  const count = Math.floor((end - start) / step + 1e-6) + 1;
  const times = Array.from({ length: count }, (_, at) => start + at * step);
  const columns = series.map((one) => {
    const column = new Array(count).fill(null);
    one.times.forEach((time, at) => {
      const place = Math.round((time - start) / step);
      if (place >= 0 && place < count) column[place] = drawable(one.values[at]);
    });
    return column;
  });
  return [times, ...columns];
}

/// Columns for samples that lie where they lie: times of other series (undefined) are no gaps.
export function scattered(series) {
  const times = [...new Set(series.flatMap((one) => one.times))].sort((a, b) => a - b);
  const places = new Map(times.map((time, at) => [time, at]));
  const columns = series.map((one) => {
    const column = new Array(times.length).fill(undefined);
    one.times.forEach((time, at) => {
      column[places.get(time)] = drawable(one.values[at]);
    });
    return column;
  });
  return [times, ...columns];
}
