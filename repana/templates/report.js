(() => {
  const on = (e, kind, f) => e.addEventListener(kind, f), said = e => e.textContent.trim();
  const id = i => document.getElementById(i);
  const all = (s, e = document) => [...e.querySelectorAll(s)], click = (s, f) => all(s).forEach(b => on(b, 'click', () => f(b)));
  all('.js').forEach(e => e.hidden = false);
  const text = c => c.dataset.v ?? said(c);

  const box = id('values');
  if (box) {
    const filter = box.querySelector('input'), choice = box.querySelector('select'), tables = all('.set', box);
    const show = () => {
      const sought = filter.value.toLowerCase();
      tables.forEach((t, i) => {
        t.hidden = choice && i !== choice.selectedIndex;
        all('tbody tr', t).forEach(r => r.hidden = !r.classList.contains('group') && !r.textContent.toLowerCase().includes(sought));
        all('tr.group', t).forEach(g => {
          let r = g.nextElementSibling, any = false;
          for (; r && !r.classList.contains('group'); r = r.nextElementSibling) any ||= !r.hidden;
          g.hidden = !any;
        });
      });
    };
    on(filter, 'input', show);
    if (choice) on(choice, 'change', show);
    show();
  }

  all('table.sort').forEach(table => all('thead th', table).forEach((head, j) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.append(...head.childNodes);
    head.append(button);
    on(button, 'click', () => {
      const sorted = head.getAttribute('aria-sort'), up = sorted !== 'ascending', body = table.tBodies[0];
      all('thead th', table).forEach(h => h.removeAttribute('aria-sort'));
      head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
      const groups = all('tr.group', body);
      body.kept ??= [...body.rows];
      if (sorted === 'descending') { head.removeAttribute('aria-sort'); body.append(...body.kept); return; }
      groups.forEach(g => g.remove());
      const key = r => { const v = text(r.cells[j]), n = parseFloat(v); return v === '' ? null : isNaN(n) ? v : n; };
      all('tr', body).sort((a, b) => {
        const x = key(a), y = key(b);
        if (x === null || y === null) return (x === null) - (y === null);
        return (typeof x === typeof y ? (x < y ? -1 : x > y ? 1 : 0) : typeof x === 'number' ? -1 : 1) * (up ? 1 : -1);
      }).forEach(r => body.append(r));
    });
  }));

  const chart = id('depth');
  if (chart) {
    const {layers, panels, names} = JSON.parse(chart.dataset.layout), n = layers.length, colours = ['#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9'];
    const drawing = chart.querySelector('svg'), more = id('panels'), out = id('readout');
    const sets = all('#values .set'), [, , width, height] = drawing.getAttribute('viewBox').split(' ').map(Number);
    const svg = (tag, into, values) => {
      const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
      Object.entries(values).forEach(([k, v]) => made.setAttribute(k, v));
      into.append(made);
      return made;
    };
    const html = (tag, into, words = '') => { const made = document.createElement(tag); made.textContent = words; into.append(made); return made; };
    const cell = (set, name, layer) => {
      const at = all('thead th', set).findIndex(h => said(h) === layer), row = all('tbody tr', set).find(r => r.dataset.q === name);
      return at > 0 && row ? row.cells[at] : null;
    };
    const share = i => (i + .4) / (n - .2), label = name => all('#values tr').find(r => r.dataset.q === name)?.cells[0].textContent ?? name;
    const cursor = (into, a, b, top, end) => {
      const line = svg('line', into, {stroke: 'currentColor', 'stroke-width': .8, 'stroke-dasharray': '2 2', visibility: 'hidden', y1: top, y2: end});
      return {line, a, b};
    };
    const still = panels.map(([a, b, c, d]) => cursor(drawing, a * width, c * width, (1 - d) * height, (1 - b) * height));
    let family = '', cursors = still, shown = names, at = -1;
    const show = i => {
      at = Math.max(0, Math.min(n - 1, i));
      cursors.forEach(({line, a, b}) => {
        const x = a + (b - a) * share(at);
        Object.entries({x1: x, x2: x, visibility: 'visible'}).forEach(([k, v]) => line.setAttribute(k, v));
      });
      out.replaceChildren();
      html('strong', out, layers[at]);
      shown.forEach(name => {
        const found = sets.map(s => [s.dataset.title.replace(/ \(n = .*/, ''), cell(s, name, layers[at])]).filter(([, c]) => c?.dataset.v);
        if (found.length) html('span', out, `${label(name)}: ` + found.map(([title, c]) => `${title} ${said(c)} ${c.title.split(';')[0]}`).join(', '));
      });
    };
    const panel = name => {
      const lines = sets.map(s => layers.map(l => parseFloat(cell(s, name, l)?.dataset.v)));
      const finite = lines.flat().filter(Number.isFinite);
      if (!finite.length) return;
      const low = Math.min(...finite), high = Math.max(...finite), log = low > 0 && high / low > 20, f = v => log ? Math.log(v) : v;
      const y = v => high === low ? 44 : 80 - 72 * (f(v) - f(low)) / (f(high) - f(low));
      const box = html('div', more), picture = (html('b', box, label(name) + (log ? ' (log)' : '')), svg('svg', box, {viewBox: '0 0 240 88', 'aria-hidden': 'true'}));
      [[low, 84], [high, 12]].forEach(([v, at]) => { svg('text', picture, {x: 38, y: at, 'text-anchor': 'end', 'font-size': 9, fill: 'currentColor'}).textContent = +v.toPrecision(2); });
      svg('path', picture, {d: 'M42 4V84H240', fill: 'none', stroke: '#8a8a8a', 'stroke-width': .6});
      lines.forEach((values, k) => {
        let pen = 'M', d = '';
        values.forEach((v, i) => { if (Number.isFinite(v)) { d += `${pen}${(42 + 198 * share(i)).toFixed(1)} ${y(v).toFixed(1)}`; pen = 'L'; } else pen = 'M'; });
        svg('path', picture, {d, class: 'c' + k, fill: 'none', stroke: colours[k % 6], 'stroke-width': 1.6, 'stroke-linecap': 'round', ...(k % 2 && {'stroke-dasharray': '5 3'})});
      });
      cursors.push(cursor(picture, 42, 240, 4, 84));
    };
    const redraw = () => {
      const first = !family, overview = first && innerWidth > 700;
      drawing.closest('.drawn').hidden = chart.querySelector('figcaption').hidden = !overview;
      more.replaceChildren();
      cursors = overview ? still : [];
      shown = first ? names : [...new Set(all('#values tr[data-q]').map(r => r.dataset.q).filter(q => family.split(' ').includes(q.split('.')[0])))];
      if (!overview) shown.forEach(panel);
      if (at >= 0) show(at);
      all('[data-curve]', chart).forEach(b => toggle(b, b.getAttribute('aria-pressed') === 'true'));
    };
    click('[data-family]', b => {
      family = b.dataset.family;
      all('[data-family]').forEach(x => x.setAttribute('aria-pressed', x === b));
      redraw();
    });
    const toggle = (b, on) => {
      b.setAttribute('aria-pressed', on);
      all('.c' + b.dataset.curve, chart).forEach(e => e.style.display = on ? '' : 'none');
    };
    if (innerWidth <= 700) redraw();
    all('[data-curve]', chart).forEach(b => on(b, 'click', () => toggle(b, b.getAttribute('aria-pressed') !== 'true')));
    const nearest = e => {
      const seen = e.target.closest('svg'), found = cursors.filter(c => c.line.ownerSVGElement === seen);
      if (!found.length) return -1;
      const box = seen.getBoundingClientRect(), x = (e.clientX - box.left) / box.width * seen.viewBox.baseVal.width;
      const c = found.find(c => x >= c.a - 4 && x <= c.b + 4);
      return c ? Math.round((x - c.a) / (c.b - c.a) * (n - .2) - .4) : -1;
    };
    on(chart, 'pointermove', e => { const i = nearest(e); out.ariaLive = 'off'; if (i >= 0 && i !== at) show(i); });
    on(chart, 'keydown', e => {
      const to = {ArrowRight: at + 1, ArrowLeft: Math.max(at, 1) - 1, Home: 0, End: n - 1}[e.key];
      if (to === undefined || e.target !== chart) return;
      e.preventDefault();
      out.ariaLive = 'polite';
      show(to);
    });
    on(chart, 'click', e => {
      const i = nearest(e), set = sets.find(s => !s.hidden), head = i < 0 || !set ? null : all('thead th', set).find(h => said(h) === layers[i]);
      if (head) head.querySelector('button').click();
    });
  }

  const save = (name, content, type) => {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([content], {type}));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 40000);  // a browser may ask where to save first
  };
  const runs = all('select.run');
  const pickRun = name => {
    runs.forEach(s => s.value = name);
    all('[data-run]').forEach(e => e.hidden = e.dataset.run !== name);
  };
  runs.forEach(s => on(s, 'change', () => pickRun(s.value)));
  if (runs.length) pickRun(runs[0].value);
  const reveal = () => {
    for (let e = id(location.hash.slice(1)); e; e = e.parentElement) if (e.tagName === 'DETAILS') e.open = true;
  };
  on(window, 'hashchange', reveal);
  reveal();
  const plain = v => /^[=+\-@\t\r]/.test(v) && isNaN(Number(v)) ? "'" + v : v;  // no formula of a spreadsheet
  const quoted = v => /[",\n]/.test(v) ? '"' + v.replace(/"/g, '""') + '"' : v;
  const rows = () => {
    const lines = [['set', 'quantity', 'layer', 'value', 'detail']];
    all('#values .set').forEach(t => {
      const heads = all('thead th', t).map(h => said(h));
      all('tbody tr:not(.group)', t).forEach(r => all('td', r).forEach((c, j) => {
        if (c.dataset.v) lines.push([t.dataset.title, r.dataset.q, heads[j + 1], c.dataset.v, c.title]);
      }));
    });
    return lines;
  };
  click('[data-csv]', () => save('report.csv', rows().map(l => l.map(plain).map(quoted).join(',')).join('\n'), 'text/csv'));
  click('[data-json]', () => {
    const [head, ...rest] = rows();
    save('report.json', JSON.stringify(rest.map(l => Object.fromEntries(l.map((v, i) => [head[i], v])))), 'application/json');
  });
  click('#drawings', () => all('[data-svg]').forEach(b => b.click()));
  const source = b => new XMLSerializer().serializeToString(b.closest('figure').querySelector('svg')).replace(/var\(--\w+,\s*(#\w+)\)/g, '$1');
  click('[data-svg]', b => save(b.dataset.svg + '.svg', source(b), 'image/svg+xml'));
  click('[data-png]', b => {
    const image = new Image(), canvas = document.createElement('canvas');
    image.onload = () => {
      canvas.width = image.width * 3;
      canvas.height = image.height * 3;
      canvas.getContext('2d').drawImage(image, 0, 0, canvas.width, canvas.height);
      canvas.toBlob(made => save(b.dataset.png + '.png', made, 'image/png'));
    };
    image.src = 'data:image/svg+xml,' + encodeURIComponent(source(b));
  });
  click('[data-gz]', async b => {
    const bytes = Uint8Array.from(atob(b.dataset.gz), c => c.charCodeAt(0));
    save(b.dataset.name + '.csv', await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'))).text(), 'text/csv');
  });
  click('[data-copy]', async b => {
    const from = id(b.dataset.copy);
    try { await navigator.clipboard.writeText(from.textContent); b.textContent = 'Copied'; } catch { getSelection().selectAllChildren(from); }
  });

  const links = all('nav a'), spots = links.map(a => id(a.hash.slice(1)));
  if ('IntersectionObserver' in window) {
    const seen = new IntersectionObserver(es => es.forEach(e => {
      if (e.isIntersecting) links.forEach((a, i) => spots[i] === e.target ? a.setAttribute('aria-current', 'true') : a.removeAttribute('aria-current'));
    }), {rootMargin: '0px 0px -70% 0px'});
    spots.forEach(s => s && seen.observe(s));
  }
})();
