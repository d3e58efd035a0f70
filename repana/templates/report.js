(() => {
  const all = (s, e = document) => [...e.querySelectorAll(s)];
  all('.js').forEach(e => e.hidden = false);
  const text = c => c.dataset.v ?? c.textContent.trim();

  const box = document.getElementById('values');
  if (box) {
    const filter = box.querySelector('input'), choice = box.querySelector('select'), tables = all('.set', box);
    const show = () => {
      const wanted = filter.value.toLowerCase();
      tables.forEach((t, i) => {
        t.hidden = choice && i !== choice.selectedIndex;
        all('tbody tr', t).forEach(r => r.hidden = !r.classList.contains('group') && !r.textContent.toLowerCase().includes(wanted));
        all('tr.group', t).forEach(g => {
          let r = g.nextElementSibling, any = false;
          for (; r && !r.classList.contains('group'); r = r.nextElementSibling) any ||= !r.hidden;
          g.hidden = !any;
        });
      });
    };
    filter.addEventListener('input', show);
    if (choice) choice.addEventListener('change', show);
    show();
  }

  all('table.sort').forEach(table => all('thead th', table).forEach((head, j) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener('click', () => {
      const up = head.getAttribute('aria-sort') !== 'ascending', body = table.tBodies[0];
      all('thead th', table).forEach(h => h.removeAttribute('aria-sort'));
      head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
      all('tr.group', body).forEach(g => g.remove());
      const key = r => { const v = text(r.cells[j]), n = parseFloat(v); return v === '' ? null : isNaN(n) ? v : n; };
      all('tr', body).sort((a, b) => {
        const x = key(a), y = key(b);
        if (x === null || y === null) return (x === null) - (y === null);
        return (typeof x === typeof y ? (x < y ? -1 : x > y ? 1 : 0) : typeof x === 'number' ? -1 : 1) * (up ? 1 : -1);
      }).forEach(r => body.append(r));
    });
  }));

  const save = (name, content, type) => {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([content], {type}));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const quoted = v => /[",\n]/.test(v) ? '"' + v.replace(/"/g, '""') + '"' : v;
  all('[data-csv]').forEach(b => b.addEventListener('click', () => {
    const lines = [['set', 'quantity', 'layer', 'value', 'detail']];
    all('#values .set').forEach(t => {
      const heads = all('thead th', t).map(h => h.textContent.trim());
      all('tbody tr:not(.group)', t).forEach(r => all('td', r).forEach((c, j) => {
        if (c.dataset.v) lines.push([t.dataset.title, r.dataset.q, heads[j + 1], c.dataset.v, c.title]);
      }));
    });
    save('report.csv', lines.map(l => l.map(quoted).join(',')).join('\n'), 'text/csv');
  }));
  all('[data-svg]').forEach(b => b.addEventListener('click', () => {
    const drawing = b.closest('figure').querySelector('svg');
    save(b.dataset.svg + '.svg', new XMLSerializer().serializeToString(drawing), 'image/svg+xml');
  }));
  all('[data-copy]').forEach(b => b.addEventListener('click', async () => {
    const from = document.getElementById(b.dataset.copy);
    try { await navigator.clipboard.writeText(from.textContent); b.textContent = 'Copied'; } catch { getSelection().selectAllChildren(from); }
  }));

  const links = all('nav a'), spots = links.map(a => document.getElementById(a.hash.slice(1)));
  if ('IntersectionObserver' in window) {
    const seen = new IntersectionObserver(es => es.forEach(e => {
      if (e.isIntersecting) links.forEach((a, i) => spots[i] === e.target ? a.setAttribute('aria-current', 'true') : a.removeAttribute('aria-current'));
    }), {rootMargin: '0px 0px -70% 0px'});
    spots.forEach(s => s && seen.observe(s));
  }
})();
