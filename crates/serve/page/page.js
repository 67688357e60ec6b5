show();
async function show() {
  const response = await fetch('v1/models');
  const output = document.getElementById('models');
  if (!response.ok) { output.textContent = (await response.json()).detail; return; }
  const { models } = await response.json();
  output.textContent = models.map(model => model.name).join(', ');
}
