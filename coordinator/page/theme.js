// Before anything is drawn: the theme that the reader chose last time.
try {
  const theme = localStorage.getItem('hone.theme');
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
} catch {
  // A browser that keeps nothing follows the system.
}
